"""Looking at the files of one batch of an inspection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from chalicelib.domain import captions
from chalicelib.domain.datasets import PART_BYTES, ManifestFile
from chalicelib.domain.inspection_facts import (
    MAX_HASHED_BYTES,
    MAX_IMAGE_BYTES,
    FileFacts,
    ImageFacts,
    ImageProbe,
    Problem,
)
from chalicelib.domain.media import (
    HEAD_BYTES,
    TRAINER_IMAGES,
    Kind,
    Media,
    is_secret_name,
    is_text_name,
    promised,
    secret_in,
    sniff,
    suffix_of,
)
from chalicelib.domain.ports import ObjectStore, Ports

#: Larger files went up in parts, so S3 knows the checksums of the parts and not that of the whole.
HASH_ABOVE = PART_BYTES
#: Files up to this size are read ahead, that many at once.
AHEAD_BYTES = 8 * 1024**2
AHEAD = 8
#: Text that is searched for secrets.
TEXT_BYTES = 256 * 1024
CHUNK = 1024 * 1024
#: One call begins no file after this long.
BUDGET = timedelta(minutes=8)
#: And no file that must be hashed whose reading would go beyond this, at a slow pace.
LONGEST = timedelta(minutes=13)
SLOWEST_BYTES_PER_SECOND = 40 * 1024**2


@dataclass(frozen=True)
class Planned:
    """A file to look at; ``thumbnail`` is its place on the contact sheet, if it has one."""

    file: ManifestFile
    thumbnail: int | None = None

    def line(self) -> bytes:
        document = self.file.model_dump(include={"path", "size", "sha256"}) | {"thumbnail": self.thumbnail}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def lines(cls, data: bytes) -> Iterator[Planned]:
        for line in data.splitlines():
            document = json.loads(line)
            thumbnail = document.pop("thumbnail", None)
            yield cls(ManifestFile.model_validate(document), thumbnail)


class StuckError(Exception):
    """A call of a batch got nowhere; the next one would not either."""


def batch(event: Mapping[str, Any], ports: Ports, probe: ImageProbe) -> dict[str, Any]:
    """Looks at a batch's files from ``at`` on until its time is up; answers where to go on, and whether it is done.

    Needs ``prefix`` (the version's files), ``work`` and ``batch`` of the plan. With ``blind`` no image is decoded and
    each is found not inspected: for what is left of a batch that failed again and again. Writes one result file a call.
    Raises StuckError rather than ask to be called again from the same place.
    """
    decoding = None if event.get("blind") else probe
    number, at = int(event["batch"]), int(event.get("at", 0))
    store, work = ports.dataset_files, event["work"]
    data = store.get(f"{work}batch-{number:05d}.jsonl")
    planned = list(Planned.lines(data)) if data is not None else []
    started = ports.clock.now()
    found: list[FileFacts] = []
    with ThreadPoolExecutor(AHEAD) as pool:
        for one, content in _contents(planned[at:], store, event["prefix"], pool):
            elapsed = ports.clock.now() - started
            hashing = timedelta(seconds=one.file.size / SLOWEST_BYTES_PER_SECOND) if _is_hashed(one.file) else None
            if found and (elapsed > BUDGET or (hashing is not None and elapsed + hashing > LONGEST)):
                break
            facts, thumbnail = look(
                one.file, content, store, event["prefix"], decoding, thumbnail=one.thumbnail is not None
            )
            found.append(facts)
            if thumbnail is not None:
                store.put(f"{work}thumbs/{one.thumbnail:03d}.jpg", thumbnail, content_type="image/jpeg")
    if found:
        lines = [f.model_dump_json(exclude_defaults=True) for f in found]
        store.put(f"{work}result-{number:05d}-{at:06d}.jsonl", ("\n".join(lines) + "\n").encode())
    elif at < len(planned):
        raise StuckError(f"batch {number} does not get beyond file {at}")
    reached = at + len(found)
    return {**event, "at": reached, "done": reached >= len(planned)}


def _contents(
    planned: list[Planned], store: ObjectStore, prefix: str, pool: ThreadPoolExecutor
) -> Iterator[tuple[Planned, bytes | None]]:
    """Each with the bytes that looking at it takes, small ones read ahead in threads: waiting for S3 is most of it."""
    rest = iter(planned)
    while chunk := list(islice(rest, 2 * AHEAD)):
        waiting = [
            pool.submit(_read, store, prefix, one.file) if _wanted(one.file) <= AHEAD_BYTES else None for one in chunk
        ]
        for one, future in zip(chunk, waiting, strict=True):
            yield one, future.result() if future is not None else _read(store, prefix, one.file)


def _wanted(file: ManifestFile) -> int:
    """How many of the file's first bytes are looked at."""
    kind = promised(file.path)[0]
    if kind is Kind.IMAGE:
        return file.size if file.size <= MAX_IMAGE_BYTES else HEAD_BYTES
    if kind is Kind.CAPTION:
        return file.size if file.size <= captions.MAX_CAPTION_BYTES else HEAD_BYTES
    return min(file.size, TEXT_BYTES if is_text_name(file.path) else HEAD_BYTES)


def _read(store: ObjectStore, prefix: str, file: ManifestFile) -> bytes | None:
    wanted = _wanted(file)
    return store.get(prefix + file.path, length=wanted if wanted < file.size else None)


def look(
    file: ManifestFile,
    content: bytes | None,
    store: ObjectStore,
    prefix: str,
    probe: ImageProbe | None,
    *,
    thumbnail: bool = False,
) -> tuple[FileFacts, bytes | None]:
    """The facts of one file, and its thumbnail. ``content`` is what ``_read`` gave for it, None when it is missing.
    Without a ``probe`` images are not decoded."""
    kind, formats = promised(file.path)
    facts: dict[str, Any] = {"path": file.path, "size": file.size, "sha256": file.sha256}
    problems: list[Problem] = [Problem.SECRET_NAME] if is_secret_name(file.path) else []
    if content is None:
        return FileFacts(**facts, kind=kind, problems=(*problems, Problem.MISSING)), None
    seen = sniff(content[:HEAD_BYTES])
    image = None
    if not content and kind in {Kind.IMAGE, Kind.VIDEO, Kind.AUDIO}:
        problems.append(Problem.EMPTY_FILE)
    elif kind is Kind.IMAGE:
        image = _image(file, content, seen, formats, probe, thumbnail=thumbnail)
        problems += image.problems
        facts |= {"width": image.width, "height": image.height, "rows": image.rows, "columns": image.columns}
        facts["format"] = image.format
        if Problem.FORMAT_UNSUPPORTED in problems or Problem.NOT_AN_IMAGE in problems:
            facts["detail"] = seen.format if seen is not None else ""
    elif kind in {Kind.VIDEO, Kind.AUDIO}:
        if seen is not None and seen.format not in formats:
            problems.append(Problem.MISLABELLED)
        facts["format"] = seen.format if seen is not None else ""
    elif kind is Kind.CAPTION:
        facts |= _caption(file, content, problems)
    elif kind is Kind.OTHER:
        kind = seen.kind if seen is not None and seen.kind in {Kind.VIDEO, Kind.AUDIO} else kind
        problems += [Problem.UNKNOWN] if kind is Kind.OTHER else [Problem.MISLABELLED]
    if is_text_name(file.path) and (secret := secret_in(content[:TEXT_BYTES].decode("utf-8", "replace"))):
        problems.append(Problem.SECRET_CONTENT)
        facts["detail"] = secret
    problems += _checksum(file, content, store, prefix)
    return FileFacts(**facts, kind=kind, problems=tuple(problems)), image.thumbnail if image is not None else None


def _image(
    file: ManifestFile,
    content: bytes,
    seen: Media | None,
    formats: frozenset[str],
    probe: ImageProbe | None,
    *,
    thumbnail: bool,
) -> ImageFacts:
    if seen is None and suffix_of(file.path) != ".tga":  # TGA has no signature
        return ImageFacts(problems=(Problem.NOT_AN_IMAGE,))
    if seen is not None and seen.kind is not Kind.IMAGE:
        return ImageFacts(format=seen.format, problems=(Problem.NOT_AN_IMAGE,))
    if seen is not None and seen.format not in TRAINER_IMAGES:
        return ImageFacts(format=seen.format, problems=(Problem.FORMAT_UNSUPPORTED,))
    if file.size > MAX_IMAGE_BYTES:
        return ImageFacts(format=seen.format if seen else "", problems=(Problem.BIG_FILE,))
    if probe is None:
        return ImageFacts(format=seen.format if seen else "", problems=(Problem.NOT_INSPECTED,))
    found = probe.look(content, thumbnail=thumbnail)
    if seen is not None and seen.format not in formats:
        return ImageFacts(**{**found.__dict__, "problems": (*found.problems, Problem.MISLABELLED)})
    return found


def _caption(file: ManifestFile, content: bytes, problems: list[Problem]) -> dict[str, Any]:
    if file.size > captions.MAX_CAPTION_BYTES:
        problems.append(Problem.CAPTION_HUGE)
        return {}
    text = captions.read_caption(content)
    if text.problem == "not_utf8":
        problems.append(Problem.CAPTION_NOT_UTF8)
        return {}
    if text.bom:
        problems.append(Problem.CAPTION_BOM)
    if text.problem == "empty":
        problems.append(Problem.CAPTION_EMPTY)
        return {}
    return {"tokens": text.tokens, "chars": text.chars, "text": text.digest}


def _is_hashed(file: ManifestFile) -> bool:
    return HASH_ABOVE < file.size <= MAX_HASHED_BYTES


def _checksum(file: ManifestFile, content: bytes, store: ObjectStore, prefix: str) -> list[Problem]:
    """Confirms the SHA-256 of a file that went up in parts, reading it as a stream unless all of it is here."""
    if file.size <= HASH_ABOVE:
        return []
    if file.size > MAX_HASHED_BYTES:
        return [Problem.NOT_HASHED]
    if len(content) == file.size:
        return [] if hashlib.sha256(content).hexdigest() == file.sha256 else [Problem.CHECKSUM]
    stream = store.open(prefix + file.path)
    if stream is None:
        return [Problem.MISSING]
    digest = hashlib.sha256()
    with stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return [] if digest.hexdigest() == file.sha256 else [Problem.CHECKSUM]
