"""Headers of safetensors files, read without trusting them.

Layout: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' data without holes. The checks are
those of the reference implementation (https://github.com/huggingface/safetensors, ``safetensors/src/tensor.rs``), so
a file that passes here loads there. Only the header is read; a 24 GB file costs a few kilobytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any, NoReturn, TypeGuard

#: The reference allows 100 MB. 32 MiB still describe 300,000 tensors (a large model has a few thousand) and keep
#: reading a hostile header within a Lambda's memory.
MAX_HEADER_BYTES = 32 * 1024 * 1024
_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 64

#: Bits an element takes.
DTYPE_BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}

#: Tensors whose first dimension is the adapter's rank: PEFT and diffusers, kohya, LyCORIS LoHa.
_RANK_FIRST = re.compile(r"(?:\blora_A(?:\.[^.]+)?\.weight|\blora_down\.weight|\blora\.down\.weight|\bhada_w[12]_b)$")


class Defect(StrEnum):
    """What is wrong with a file."""

    TRUNCATED = "truncated"
    HEADER_TOO_LARGE = "header_too_large"
    HEADER_INCOMPLETE = "header_incomplete"
    NOT_JSON = "not_json"
    INVALID_ENTRY = "invalid_entry"
    DUPLICATE_NAME = "duplicate_name"
    UNKNOWN_DTYPE = "unknown_dtype"
    INVALID_OFFSETS = "invalid_offsets"
    SIZE_MISMATCH = "size_mismatch"
    TRAILING_DATA = "trailing_data"


class SafetensorsError(Exception):
    """The file is not sound. ``defect`` is stable; the message reads on from "the file is broken:"."""

    def __init__(self, defect: Defect, message: str) -> None:
        super().__init__(message)
        self.defect = defect


@dataclass(frozen=True)
class Tensor:
    """One tensor; ``begin`` and ``end`` count from where the data begins."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a sound file holds. ``dtypes`` counts tensors by type, ``rank`` is the adapter's usual rank if it is one.
    ``tensors`` are in the order of their data."""

    header_bytes: int
    data_bytes: int
    tensor_count: int
    parameters: int
    dtypes: Mapping[str, int]
    rank: int | None
    metadata: Mapping[str, str]
    tensors: tuple[Tensor, ...] = ()


def header_length(prefix: bytes) -> int:
    """Bytes of JSON that follow the first eight. Raises SafetensorsError: fewer than eight, or beyond the limit."""
    if len(prefix) < _LENGTH_BYTES:
        raise SafetensorsError(Defect.TRUNCATED, "it ends before the length of its header")
    length = int.from_bytes(prefix[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise SafetensorsError(
            Defect.HEADER_TOO_LARGE, f"its header claims {length} bytes; {MAX_HEADER_BYTES} is the limit"
        )
    return length


def parse_header(data: bytes, *, file_size: int | None = None) -> SafetensorsHeader:
    """Reads and checks the header at the start of ``data``.

    ``data`` must hold the whole header and may hold more; ``file_size`` is the size of the whole file in bytes and
    defaults to ``len(data)``. Raises SafetensorsError and nothing else.
    """
    size = len(data) if file_size is None else file_size
    length = header_length(data)
    data_bytes = size - _LENGTH_BYTES - length
    if data_bytes < 0:
        raise SafetensorsError(Defect.TRUNCATED, f"it has {size} bytes where its header alone takes {length}")
    raw = data[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(raw) < length:
        raise SafetensorsError(Defect.HEADER_INCOMPLETE, "its header was not read to the end")
    entries = _load(raw)
    metadata = _metadata(entries.pop("__metadata__", {}))
    tensors = [_tensor(name, entry) for name, entry in entries.items()]
    _check_layout(tensors, data_bytes)
    ranks = Counter(t.shape[0] for t in tensors if len(t.shape) >= 2 and t.shape[0] and _RANK_FIRST.search(t.name))
    return SafetensorsHeader(
        header_bytes=length,
        data_bytes=data_bytes,
        tensor_count=len(tensors),
        parameters=sum(prod(t.shape) for t in tensors),
        dtypes=dict(Counter(t.dtype for t in tensors)),
        rank=max(ranks, key=lambda r: (ranks[r], r)) if ranks else None,
        metadata=metadata,
        tensors=tuple(sorted(tensors, key=lambda t: (t.begin, t.end))),
    )


def _load(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise SafetensorsError(Defect.NOT_JSON, "its header is no JSON object")
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # ValueError covers bad UTF-8, bad JSON and numbers longer than Python converts.
        raise SafetensorsError(Defect.NOT_JSON, "its header is no valid JSON") from None
    if not isinstance(parsed, dict):  # startswith("{") makes it one; kept so that the types hold without a cast
        raise SafetensorsError(Defect.NOT_JSON, "its header is no JSON object")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise SafetensorsError(Defect.DUPLICATE_NAME, "its header has a name twice")
    return unique


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _metadata(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise SafetensorsError(Defect.INVALID_ENTRY, "its metadata is not a map of texts")
    return value


def _tensor(name: str, entry: Any) -> Tensor:
    shown = _shown(name)
    if not isinstance(entry, dict):
        raise SafetensorsError(Defect.INVALID_ENTRY, f"tensor {shown} is no object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise SafetensorsError(Defect.UNKNOWN_DTYPE, f"tensor {shown} has the unknown type {_shown(dtype)}")
    if not _naturals(shape) or len(shape) > _MAX_DIMENSIONS:
        raise SafetensorsError(Defect.INVALID_ENTRY, f"tensor {shown} has no valid shape")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(Defect.INVALID_OFFSETS, f"tensor {shown} has no valid offsets")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), begin=offsets[0], end=offsets[1])


def _naturals(value: Any) -> TypeGuard[list[int]]:
    """A list of whole numbers of at most 64 bits; ``type`` because ``True`` is an int too."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 64 for n in value)


def _check_layout(tensors: list[Tensor], data_bytes: int) -> None:
    """The data must be covered exactly, each byte once, each tensor as long as its shape and type say."""
    position = 0
    for tensor in sorted(tensors, key=lambda t: (t.begin, t.end)):
        shown = _shown(tensor.name)
        if tensor.begin != position:
            word = "overlaps the one before it" if tensor.begin < position else "leaves a hole before it"
            raise SafetensorsError(Defect.INVALID_OFFSETS, f"tensor {shown} {word}")
        bits = prod(tensor.shape) * DTYPE_BITS[tensor.dtype]
        if bits % 8 or bits // 8 != tensor.end - tensor.begin:
            raise SafetensorsError(Defect.SIZE_MISMATCH, f"tensor {shown} does not have the size of its shape and type")
        position = tensor.end
    if position > data_bytes:
        raise SafetensorsError(Defect.TRUNCATED, f"its tensors need {position} bytes of data; there are {data_bytes}")
    if position < data_bytes:
        raise SafetensorsError(Defect.TRAILING_DATA, f"{data_bytes - position} bytes follow its last tensor")


def _shown(value: Any) -> str:
    """A name from the file, fit for a message: short, printable ASCII."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
