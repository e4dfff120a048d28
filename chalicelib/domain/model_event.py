"""The event of a delivery by webhook: what was trained, and links to every file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.delivery_ports import ShippedFile
from chalicelib.domain.shipping import MANIFEST_NAME

EVENT, PING = "model.ready", "ping"
#: Links are signed with credentials of a running function and die with those, whatever longer time a link may name.
LINKS_LIVE = timedelta(hours=1)
#: Links in one event or answer, about 1.5 KB each; the others are asked for.
MAX_LINKS = 200


def links(
    files: Sequence[ShippedFile], after: str | None, presign: Callable[[ShippedFile], str]
) -> tuple[list[dict[str, Any]], str | None]:
    """At most MAX_LINKS files behind the path ``after``, by path, each with its link; and the path to go on behind."""
    rest = sorted((f for f in files if after is None or f.path > after), key=lambda f: f.path)
    shown = [
        {"path": f.path, "size": f.size, "sha256": f.sha256, "kind": f.kind.value, "url": presign(f)}
        for f in rest[:MAX_LINKS]
    ]
    return shown, rest[MAX_LINKS - 1].path if len(rest) > MAX_LINKS else None


def model_event(
    *,
    job_id: str,
    run_name: str,
    delivery_id: str,
    files: Sequence[ShippedFile],
    presign: Callable[[ShippedFile], str],
    public_url: str,
    now: datetime,
) -> dict[str, Any]:
    """The body of the event. ``next`` is the path behind which ``links_url`` gives the rest."""
    shown, more = links(files, None, presign)
    manifest = next((f for f in files if f.path == MANIFEST_NAME), None)
    job_url = f"{public_url}/api/cloud/jobs/{job_id}"
    delivery_url = f"{job_url}/deliveries/{delivery_id}"
    return {
        "type": EVENT,
        "timestamp": now.isoformat(),
        "data": {
            "job_id": job_id,
            "run_name": run_name,
            "delivery_id": delivery_id,
            "manifest": {"sha256": manifest.sha256, "url": presign(manifest)} if manifest else None,
            "files": shown,
            "next": more,
            "total_files": len(files),
            "total_bytes": sum(f.size for f in files),
            "expires_at": (now + LINKS_LIVE).isoformat(),
            "api_url": job_url,
            "links_url": f"{delivery_url}/links",
            "receipt_url": f"{delivery_url}/receipt",
        },
    }


def ping_event(now: datetime) -> dict[str, Any]:
    return {"type": PING, "timestamp": now.isoformat(), "data": {}}
