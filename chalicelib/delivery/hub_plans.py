"""How large files go up to the Hub: the links of each, what has arrived, and notes of both that outlive a step.

The links are as good as a password for the part they name, for as long as the Hub says; they lie beside the escrow,
which nobody but the stack can read, and are removed when the file has arrived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.delivery.hub_faults import malformed
from chalicelib.domain.objects import ObjectStore

#: Of all parts of one upload; S3's own limit.
MAX_PARTS = 10_000


@dataclass
class Plan:
    """One file's upload. ``chunk`` is 0 for a single request with everything; ``links`` are where parts go, from the
    first. ``complete`` puts the parts together, ``verify`` has the Hub look. ``etags`` are of the parts that arrived,
    by number from 1. ``expired``: a link was refused, a new plan is needed. ``finishes`` counts how often the parts
    were to be put together."""

    oid: str
    size: int
    chunk: int
    links: Sequence[str]
    complete: str | None
    verify: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    etags: dict[int, str] = field(default_factory=dict)
    expired: bool = False
    finishes: int = 0

    @property
    def missing(self) -> list[int]:
        return [number for number in range(1, len(self.links) + 1) if number not in self.etags]

    @property
    def arrived(self) -> int:
        """Bytes."""
        return sum(self.length(number) for number in self.etags)

    def length(self, number: int) -> int:
        start = (number - 1) * self.chunk
        return min(self.chunk, self.size - start) if self.chunk else self.size

    @classmethod
    def of(cls, action: Mapping[str, Any]) -> Plan | None:
        """From an object of the Hub's LFS batch answer; None when the content is there already.

        https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, with the Hub's own multipart: a header
        ``chunk_size``, and one header per part. Raises DeliveryFault."""
        actions = action.get("actions")
        if not actions:
            return None
        upload, verify = actions.get("upload"), actions.get("verify") or {}
        if not isinstance(upload, Mapping) or not isinstance(upload.get("href"), str):
            raise malformed("where a file goes")
        header = {str(k): str(v) for k, v in (upload.get("header") or {}).items()}
        size, href = int(action["size"]), upload["href"]
        facts = {"oid": action["oid"], "size": size, "verify": verify.get("href")}
        if "chunk_size" not in header:
            return cls(chunk=0, links=[href], complete=None, headers=header, **facts)
        chunk = int(header["chunk_size"]) if header["chunk_size"].isdigit() else 0
        links = [link for _, link in sorted((int(name), link) for name, link in header.items() if name.isdigit())]
        if chunk <= 0 or len(links) != -(-size // chunk) or len(links) > MAX_PARTS:
            raise malformed("the parts of a file")
        return cls(chunk=chunk, links=links, complete=href, **facts)


class Notes:
    """Plans below one prefix of the escrow's bucket. The links are written once, what arrived as it does."""

    def __init__(self, escrow: ObjectStore, prefix: str) -> None:
        self._escrow = escrow
        self._prefix = f"{prefix}hub/"

    def load(self, oid: str, size: int) -> Plan | None:
        """None when there are none that can be used."""
        written = _json(self._escrow.get(self._key(oid, "links")))
        if not written or written.get("size") != size:
            return None
        plan = Plan(
            oid=oid,
            size=size,
            chunk=written["chunk"],
            links=written["links"],
            complete=written["complete"],
            verify=written["verify"],
        )
        arrived = _json(self._escrow.get(self._key(oid, "parts")))
        # Two runs may have planned at once: parts of the other's upload are not ours.
        if arrived.get("complete") == plan.complete:
            plan.etags = {int(number): etag for number, etag in arrived["etags"].items()}
            plan.finishes = int(arrived.get("finishes", 0))
        return plan

    def begin(self, plan: Plan) -> None:
        if plan.chunk:
            facts = {"size": plan.size, "chunk": plan.chunk, "links": plan.links}
            self._put(plan.oid, "links", facts | {"complete": plan.complete, "verify": plan.verify})

    def arrived(self, plan: Plan) -> None:
        if plan.chunk:
            self._put(
                plan.oid, "parts", {"complete": plan.complete, "etags": dict(plan.etags), "finishes": plan.finishes}
            )

    def forget(self, plan: Plan) -> None:
        if plan.chunk:
            self._escrow.delete([self._key(plan.oid, "links"), self._key(plan.oid, "parts")])

    def forget_all(self) -> None:
        self._escrow.delete_prefix(self._prefix)

    def _key(self, oid: str, what: str) -> str:
        return f"{self._prefix}{oid}.{what}.json"

    def _put(self, oid: str, what: str, document: Mapping[str, Any]) -> None:
        self._escrow.put(self._key(oid, what), json.dumps(document).encode(), content_type="application/json")


def _json(data: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
