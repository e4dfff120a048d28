"""Looking into the data of a safetensors file as it streams by: values that are no numbers, and zeros. Pure.

All data passes by once, in order. Zeros are looked for everywhere: comparing with zeros ends at the first other byte,
so it costs next to nothing. Values are looked at in windows (first, last, and evenly between), at most EXAMINED_BYTES
of a file; a file up to that size is looked at wholly. What a window is asked first is answered by bytes in C: does any
value have the top byte of NaN or infinity? Only then are values taken apart one by one.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.domain.safetensors import Tensor

#: Of one file, at most.
EXAMINED_BYTES = 64 * 1024 * 1024
#: One window, at most and at least; windows are multiples of eight bytes, so no value is cut.
WINDOW, SMALL_WINDOW = 4096, 64
#: A stretch of zeros of this length inside a tensor that has other values was probably lost on the way.
ZERO_RUN = 1024 * 1024
#: With so many found the file is judged; taking apart millions more would only take time.
ENOUGH = 1000

_ZEROS = bytes(ZERO_RUN)
_PEEK = 64
#: What an adapter's second matrix is called; it is zero before the first step, and must not be afterwards.
_UPWARDS = re.compile(r"(?:\blora_B(?:\.[^.]+)?\.weight|\blora_up\.weight|\blora\.up\.weight)$")


@dataclass(frozen=True)
class _Kind:
    """How a value says that it is none. ``exponent`` and ``mantissa`` are masks of the little-endian whole; all bits of
    the exponent set and no bit of the mantissa is infinity. ``nan`` lists one-byte types' values instead."""

    width: int
    exponent: int = 0
    mantissa: int = 0
    nan: bytes = b""
    inf: bytes = b""

    @property
    def finite_top(self) -> bytes:
        """Top bytes that no NaN or infinity has."""
        if self.width == 1:
            return bytes(b for b in range(256) if b not in self.nan + self.inf)
        top = self.exponent >> (8 * (self.width - 1))
        return bytes(b for b in range(256) if b & top != top)


_F32 = _Kind(4, 0x7F800000, 0x007FFFFF)
_KINDS: Mapping[str, _Kind] = {
    "F16": _Kind(2, 0x7C00, 0x03FF),
    "BF16": _Kind(2, 0x7F80, 0x007F),
    "F32": _F32,
    "C64": _F32,
    "F64": _Kind(8, 0x7FF0000000000000, 0x000FFFFFFFFFFFFF),
    "F8_E5M2": _Kind(1, nan=b"\x7d\x7e\x7f\xfd\xfe\xff", inf=b"\x7c\xfc"),
    "F8_E4M3": _Kind(1, nan=b"\x7f\xff"),
    "F8_E4M3FNUZ": _Kind(1, nan=b"\x80"),
    "F8_E5M2FNUZ": _Kind(1, nan=b"\x80"),
    "F8_E8M0": _Kind(1, nan=b"\xff"),
}
_FINITE_TOP = {name: kind.finite_top for name, kind in _KINDS.items()}
_FORMATS = {2: "<H", 4: "<I", 8: "<Q"}


def non_finite(dtype: str, data: bytes) -> tuple[int, int]:
    """How many NaNs and infinities ``data`` holds, whole values of ``dtype`` from its start; types without them hold
    none. Beyond ENOUGH it stops counting."""
    kind = _KINDS.get(dtype)
    if kind is None:
        return 0, 0
    top = data[kind.width - 1 :: kind.width]
    suspects = top.translate(None, _FINITE_TOP[dtype])
    if not suspects:
        return 0, 0
    if kind.width == 1:
        inf = sum(suspects.count(byte) for byte in kind.inf)
        return len(suspects) - inf, inf
    nan = inf = 0
    whole = len(data) - len(data) % kind.width
    for (value,) in struct.iter_unpack(_FORMATS[kind.width], data[:whole]):
        if value & kind.exponent == kind.exponent:
            if value & kind.mantissa:
                nan += 1
            else:
                inf += 1
            if nan + inf >= ENOUGH:
                break
    return nan, inf


@dataclass
class Sample:
    """What was found. ``examined`` bytes were looked at for NaN and infinity; ``zero_tensors`` are all zeros,
    ``zero_run`` counts the ZERO_RUN-long stretches of zeros in tensors that have other values."""

    examined: int = 0
    nan: int = 0
    inf: int = 0
    nan_in: list[str] = field(default_factory=list)
    tensors: int = 0
    zero_tensors: int = 0
    zero_runs: int = 0
    upwards: int = 0
    zero_upwards: int = 0

    @property
    def all_zero(self) -> bool:
        return self.tensors > 0 and self.zero_tensors == self.tensors

    @property
    def untrained(self) -> bool:
        """An adapter whose every second matrix is zero changes nothing: as before the first step."""
        return self.upwards > 0 and self.zero_upwards == self.upwards


class TensorSampler:
    """Fed with all of a file's data, in order and in pieces of any length; then asked for ``result``."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = sorted((t for t in tensors if t.end > t.begin), key=lambda t: t.begin)
        self._begins = [t.begin for t in self._tensors]
        self._at = 0
        self._kept = b""
        self._total = total = self._tensors[-1].end if self._tensors else 0
        self._share = total if total <= EXAMINED_BYTES else EXAMINED_BYTES // max(1, len(self._tensors))
        self._sample = Sample(tensors=len(self._tensors))
        self._nonzero = False
        self._runs = 0

    def feed(self, block: bytes) -> None:
        """The next bytes of the data."""
        if self._kept:
            block = self._kept + block
        # What is no multiple of the widest value waits for the next piece, so that no value is cut.
        whole = len(block) if self._at + len(block) >= self._total else len(block) // 8 * 8
        block, self._kept = (block, b"") if whole == len(block) else (block[:whole], block[whole:])
        begin, self._at = self._at, self._at + len(block)
        number = max(0, bisect_right(self._begins, begin) - 1)
        while number < len(self._tensors) and self._tensors[number].begin < self._at:
            tensor = self._tensors[number]
            start, stop = max(tensor.begin, begin), min(tensor.end, self._at)
            if start < stop:
                self._look_for_zeros(block, start - begin, stop - begin)
                self._look_at_values(tensor, block, start, stop, begin)
                if stop == tensor.end:
                    self._finish(tensor)
            number += 1

    @property
    def result(self) -> Sample:
        return self._sample

    def _look_for_zeros(self, block: bytes, start: int, stop: int) -> None:
        for at in range(start, stop, ZERO_RUN):
            length = min(ZERO_RUN, stop - at)
            peek = _ZEROS[: min(length, _PEEK)]
            zeros = block.startswith(peek, at) and block.startswith(_ZEROS[:length], at)
            self._nonzero |= not zeros
            self._runs += zeros and length == ZERO_RUN

    def _look_at_values(self, tensor: Tensor, block: bytes, start: int, stop: int, offset: int) -> None:
        if tensor.dtype not in _KINDS or self._sample.nan >= ENOUGH:
            return
        for first, last in self._windows(tensor, start, stop):
            nan, inf = non_finite(tensor.dtype, block[first - offset : last - offset])
            self._sample.examined += last - first
            self._sample.nan += nan
            self._sample.inf += inf
            if nan and tensor.name not in self._sample.nan_in and len(self._sample.nan_in) < 3:
                self._sample.nan_in.append(tensor.name)

    def _windows(self, tensor: Tensor, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of this stretch to look at; whole values, counted from the tensor's begin."""
        width = _KINDS[tensor.dtype].width
        size = tensor.end - tensor.begin
        if size <= self._share:
            windows: Iterator[tuple[int, int]] = iter([(0, size)])
        else:
            windows = self._spread(size, start - tensor.begin, stop - tensor.begin)
        for low, high in windows:
            first, last = max(low, start - tensor.begin), min(high, stop - tensor.begin)
            first += -first % width
            last -= last % width
            if first < last:
                yield tensor.begin + first, tensor.begin + last

    def _spread(self, size: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Windows of a tensor of ``size``, evenly from its first byte to its last, as far as they touch the stretch."""
        window = max(SMALL_WINDOW, min(WINDOW, self._share // 16 // 8 * 8))
        count = max(2, self._share // window)
        stride = (size - window) / (count - 1)
        number = max(0, int((start - window) / stride))
        while number < count:
            low = size - window if number == count - 1 else int(number * stride) // 8 * 8
            if low >= stop:
                return
            yield low, low + window
            number += 1

    def _finish(self, tensor: Tensor) -> None:
        sample = self._sample
        upwards = bool(_UPWARDS.search(tensor.name))
        sample.upwards += upwards
        if self._nonzero:
            sample.zero_runs += self._runs
        else:
            sample.zero_tensors += 1
            sample.zero_upwards += upwards
        self._nonzero, self._runs = False, 0
