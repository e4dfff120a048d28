"""A case of the corpus of archives: how it is made, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.corpus.tars import entry
from tests.corpus.zips import Item, zipped

MIB = 1024**2
JPG = b"\xff\xd8\xff\xe0 as far as anybody looks, a picture"
PNG = b"\x89PNG\r\n\x1a\n another"
TXT = b"a cat on a mat"
GOOD = (Item("a.jpg", JPG), Item("a.txt", TXT))
TAKEN = {"a.jpg": JPG, "a.txt": TXT}
TAR_GOOD = (entry("a.jpg", JPG), entry("a.txt", TXT))
READY = "ready"


@dataclass(frozen=True)
class Case:
    """``verdict`` is ``ready`` or the code of the refusal. ``files`` are exactly those of the version, ``left_out`` the
    paths that are not in it, by code; None: not looked at. ``notes`` are parts of what the report must say."""

    name: str
    make: Callable[[], bytes]
    verdict: str = READY
    files: Mapping[str, bytes] | None = field(default_factory=lambda: dict(TAKEN))
    left_out: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    stripped: str | None = None
    notes: tuple[str, ...] = ()
    filename: str = "photos.zip"
    sha256: str | None = None


def taken(name: str, data: bytes, **expected: object) -> Case:
    return Case(name, lambda: data, **expected)  # type: ignore[arg-type]


def refused(name: str, data: bytes | Callable[[], bytes], code: str, **expected: object) -> Case:
    make = data if callable(data) else lambda: data
    return Case(name, make, code, files=None, **expected)  # type: ignore[arg-type]


def beside(name: str, item: Item, code: str, path: str | None = None) -> Case:
    """One bad entry among good ones: it is left out, the others are taken."""
    shown = path if path is not None else item.raw_name.decode()
    return Case(name, lambda: zipped([*GOOD, item]), left_out={shown: code})
