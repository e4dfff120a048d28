"""What of a job's escrow is sent, and under which names: the one place for that. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.domain.delivery_ports import ShippedFile
from chalicelib.domain.destinations import Part
from chalicelib.domain.escrow import FileKind, Manifest, OutputFile

MANIFEST_NAME = "manifest.json"
#: Names that a destination writes itself.
RESERVED = frozenset({MANIFEST_NAME, "README.md", ".gitattributes"})
SAMPLES = "samples/"
#: Where a published file goes whose own name is taken.
PUBLISHED = "published/"

_KINDS: Mapping[Part, FileKind] = {
    Part.WEIGHTS: FileKind.WEIGHTS,
    Part.CHECKPOINTS: FileKind.CHECKPOINT,
    Part.SAMPLES: FileKind.SAMPLE,
    Part.OTHER: FileKind.OTHER,
}


def shipment_files(manifest: Manifest, include: Sequence[Part], artifacts_prefix: str) -> list[ShippedFile]:
    """The sound files of the wanted kinds, weights first, then by path.

    Weights lie at the root by their base name when that is unique, else with their folder; samples below ``samples/``;
    checkpoints and others under the path they were published with. No two files get the same path, and none is called
    as something that a destination writes itself. What is included does not change the path of a file.
    """
    wanted = {_KINDS[part] for part in include}
    paths = _paths(manifest.files)
    files = [
        ShippedFile(
            source_key=artifacts_prefix + file.path,
            path=paths[file.path],
            size=file.size,
            sha256=file.sha256,
            kind=file.kind,
        )
        for file in manifest.files
        if file.kind in wanted and file.verified and file.sha256 is not None
    ]
    return sorted(files, key=lambda f: (f.kind is not FileKind.WEIGHTS, f.path))


def delivered_manifest(manifest: Manifest, files: Sequence[ShippedFile], artifacts_prefix: str) -> bytes:
    """The ``manifest.json`` that goes along, last: the files by their path at the destination, with size and SHA-256,
    and as what they were published. The same files give the same bytes."""
    known = {file.path: file for file in manifest.files}
    document = {
        "job_id": manifest.job_id,
        "created_at": manifest.created_at,
        "files": [_line(file, known[file.source_key.removeprefix(artifacts_prefix)]) for file in files],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def manifest_file(source_key: str, data: bytes) -> ShippedFile:
    """The manifest itself as a file of the shipment; ``data`` is what lies at ``source_key``."""
    return ShippedFile(
        source_key=source_key,
        path=MANIFEST_NAME,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        kind=FileKind.OTHER,
    )


def _line(file: ShippedFile, published: OutputFile) -> dict[str, Any]:
    line: dict[str, Any] = {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "kind": file.kind.value,
        "published_as": published.path,
    }
    facts = {"tensors": published.tensors, "parameters": published.parameters, "rank": published.rank}
    line |= {name: value for name, value in facts.items() if value is not None}
    if published.dtypes:
        line["dtypes"] = list(published.dtypes)
    return line


def _paths(files: Iterable[OutputFile]) -> dict[str, str]:
    """The destination's path of every published one."""
    everything = list(files)
    published = {file.path for file in everything}
    names = {
        kind: Counter(_base(file.path) for file in everything if file.kind is kind)
        for kind in (FileKind.WEIGHTS, FileKind.SAMPLE)
    }
    taken: set[str] = set()
    paths: dict[str, str] = {}
    order = {FileKind.WEIGHTS: 0, FileKind.SAMPLE: 1}
    for file in sorted(everything, key=lambda f: (order.get(f.kind, 2), f.path)):
        candidates = [f"{PUBLISHED}{file.path}"]
        base = _base(file.path)
        if file.kind is FileKind.SAMPLE:
            candidates.insert(0, f"{SAMPLES}{file.path}")
            if names[FileKind.SAMPLE][base] == 1:
                candidates.insert(0, f"{SAMPLES}{base}")
        else:
            candidates.insert(0, file.path)
            free = base == file.path or base not in published
            if file.kind is FileKind.WEIGHTS and names[FileKind.WEIGHTS][base] == 1 and free:
                candidates.insert(0, base)
        paths[file.path] = _first_free(candidates, taken)
        taken.add(paths[file.path])
    return paths


def _first_free(candidates: Sequence[str], taken: set[str]) -> str:
    for path in candidates:
        if path not in taken and path not in RESERVED:
            return path
    path = candidates[-1]
    while path in taken:
        path = PUBLISHED + path
    return path


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]
