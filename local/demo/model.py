"""Looking into delivered weights, with nothing but their bytes."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from local.demo.errors import DemoError

MAX_HEADER = 100_000_000
_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


@dataclass(frozen=True)
class Weights:
    """What a safetensors file holds. ``rank`` is None when there are no LoRA pairs; ``moved`` counts tensors that are
    not all zero."""

    path: Path
    size: int
    sha256: str
    tensors: int
    parameters: int
    dtypes: tuple[str, ...]
    rank: int | None
    moved: int


def read_weights(path: Path) -> Weights:
    """Reads the whole file. Raises DemoError when it is no sound safetensors file or holds NaN or infinity."""
    data = path.read_bytes()
    try:
        header, body = _split(data)
        ranks, moved, parameters = set(), 0, 0
        for name, entry in header.items():
            values = _values(name, entry, body)
            parameters += values.size
            moved += bool(np.any(values))
            if "lora_A" in name or "lora_down" in name or "lora.down" in name:
                ranks.add(int(entry["shape"][0]))
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise DemoError(f"{path} is no sound safetensors file: {error}") from error
    return Weights(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        tensors=len(header),
        parameters=parameters,
        dtypes=tuple(sorted({e["dtype"] for e in header.values()})),
        rank=max(ranks) if ranks else None,
        moved=moved,
    )


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER, len(data) - 8):
        raise ValueError("its header is longer than the file")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    if not header:
        raise ValueError("it holds no tensors")
    return header, data[8 + length :]


def _values(name: str, entry: dict[str, Any], body: bytes) -> np.ndarray[Any, Any]:
    begin, end = entry["data_offsets"]
    raw = body[begin:end]
    if entry["dtype"] == "BF16":
        values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, np.dtype(_TYPES[entry["dtype"]]).newbyteorder("<"))
    count = int(np.prod(entry["shape"], dtype=np.int64))
    if values.size != count:
        raise ValueError(f"tensor {name} has {values.size} numbers instead of {count}")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"tensor {name} holds NaN or infinity")
    return values
