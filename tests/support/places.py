"""Where the files of a dataset version lie in the bucket, as far as a client can tell."""

from __future__ import annotations

from urllib.parse import urlsplit


def place_of(manifest_url: str) -> str:
    """The last part of the version's prefix, which its manifest is named after."""
    return urlsplit(manifest_url).path.rpartition("/")[2].removesuffix(".json")
