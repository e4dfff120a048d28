"""Destinations as they are typed: ``huggingface:owner/name``, ``s3://bucket/prefix``, an address of a webhook."""

from __future__ import annotations

from typing import Any

from stcloud.errors import UsageError

PARTS = ("weights", "checkpoints", "samples", "other")
_HUB = ("huggingface:", "hf:")
HOW = "Write it like huggingface:owner/name, s3://bucket/prefix, or https://example.com/hook."


def destination_of(
    text: str,
    *,
    credential: str | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    public: bool = False,
    include: list[str] | None = None,
) -> dict[str, Any]:
    """The destination as the API takes it. What does not fit its kind raises UsageError."""
    found = _parsed(text)
    kind = found["kind"]
    if (endpoint_url or region) and kind != "s3":
        raise UsageError("--endpoint-url and --region go with s3://bucket/prefix.")
    if public and kind != "huggingface":
        raise UsageError("--public goes with huggingface:owner/name.")
    if public:
        found["private"] = False
    more = {"credential": credential, "endpoint_url": endpoint_url, "region": region, "include": include or None}
    return found | {name: value for name, value in more.items() if value is not None}


def included(parts: list[str] | None) -> list[str] | None:
    """``--include``, given several times or with commas."""
    if not parts:
        return None
    found = list(dict.fromkeys(part.strip() for text in parts for part in text.split(",") if part.strip()))
    unknown = [part for part in found if part not in PARTS]
    if unknown or not found:
        raise UsageError(f"'{', '.join(unknown)}' can't be included.", advice=f"Use: {', '.join(PARTS)}.")
    return found


def _parsed(text: str) -> dict[str, Any]:
    for prefix in _HUB:
        if text.startswith(prefix) and len(text) > len(prefix):
            return {"kind": "huggingface", "repo_id": text[len(prefix) :]}
    if text.startswith("s3://"):
        bucket, _, prefix = text[len("s3://") :].partition("/")
        if bucket:
            return {"kind": "s3", "bucket": bucket, "prefix": prefix.strip("/")}
    if text.startswith(("https://", "http://")):
        return {"kind": "webhook", "url": text}
    raise UsageError(f"'{text}' is no destination.", advice=HOW)
