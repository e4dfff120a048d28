"""Checks of one published file while it streams by: header, values, and whether it is what was trained. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.escrow import FileKind, OutputFile, TensorChecks
from chalicelib.domain.safetensors import SafetensorsError, SafetensorsHeader, header_length, parse_header
from chalicelib.domain.tensor_sample import ENOUGH, ZERO_RUN, Sample, TensorSampler

#: Begins the problem of a file with values that are no numbers.
NOT_FINITE = "it holds values that are no numbers (NaN)"
_PREFIX_BYTES = 8
_ZEROS = bytes(1024 * 1024)
#: Names in adapters of all kinds that SimpleTuner trains: LoRA, DoRA, LyCORIS (LoHa, LoKr, OFT), IA3.
_ADAPTER = re.compile(r"lora|lycoris|hada_|lokr_|dora|oft_|ia3|\.alpha$", re.IGNORECASE)


@dataclass(frozen=True)
class Expected:
    """What the config promises of the weights; None is no promise."""

    adapter: bool | None = None
    rank: int | None = None


def expected_of(config: Mapping[str, Any]) -> Expected:
    """``config`` as it was submitted, its keys with or without dashes. SimpleTuner trains a full model unless told."""
    plain = {str(key).lstrip("-"): value for key, value in config.items()}
    kind = plain.get("model_type")
    if kind != "lora":
        return Expected(adapter=False if kind == "full" else None)
    standard = plain.get("lora_type", "standard") == "standard"
    try:
        rank = int(plain["lora_rank"]) if standard and "lora_rank" in plain else None
    except (TypeError, ValueError):
        rank = None
    return Expected(adapter=True, rank=rank)


class FileCheck:
    """Fed with a file from its first byte to its last; then asked what it found."""

    def __init__(self, file: OutputFile, expected: Expected) -> None:
        self._file = file
        self._expected = expected if file.kind in {FileKind.WEIGHTS, FileKind.CHECKPOINT} else Expected()
        self._head: bytearray | None = bytearray() if file.path.endswith(".safetensors") else None
        self._header: SafetensorsHeader | None = None
        self._sampler: TensorSampler | None = None
        self._defect: str | None = None
        self._only_zeros = True

    def feed(self, block: bytes) -> None:
        if self._only_zeros:
            self._only_zeros = all(
                block.startswith(_ZEROS[: len(block) - at], at) for at in range(0, len(block), len(_ZEROS))
            )
        if self._sampler is not None:
            self._sampler.feed(block)
        elif self._head is not None:
            self._head += block
            self._begin()

    def outcome(self, size: int) -> dict[str, Any]:
        """The fields of OutputFile that follow, for a file that had ``size`` bytes."""
        if size and self._only_zeros:
            return {"problem": "it holds nothing but zeros"}
        if not self._file.path.endswith(".safetensors"):
            return {}
        if self._defect is None and self._header is None:
            self._parse()
        if self._defect is not None or self._header is None or self._sampler is None:
            return {"problem": self._defect}
        header, sample = self._header, self._sampler.result
        found: dict[str, Any] = {
            "tensors": header.tensor_count,
            "parameters": header.parameters,
            "dtypes": tuple(sorted(header.dtypes)),
            "rank": header.rank,
            "checks": TensorChecks(
                examined_bytes=sample.examined, nan=sample.nan, inf=sample.inf, zero_tensors=sample.zero_tensors
            ),
            "warnings": tuple(self._warnings(header, sample)),
        }
        problem = self._problem(header, sample)
        return found | ({"problem": problem} if problem else {})

    def _begin(self) -> None:
        head = self._head
        if head is None or len(head) < _PREFIX_BYTES:
            return
        try:
            if len(head) < _PREFIX_BYTES + header_length(bytes(head[:_PREFIX_BYTES])):
                return
        except SafetensorsError:
            pass  # told by parsing
        self._parse()

    def _parse(self) -> None:
        head, self._head = bytes(self._head or b""), None
        try:
            self._header = parse_header(head, file_size=self._file.size)
        except SafetensorsError as error:
            self._defect = str(error)
            return
        self._sampler = TensorSampler(self._header.tensors)
        self._sampler.feed(head[_PREFIX_BYTES + self._header.header_bytes :])

    def _problem(self, header: SafetensorsHeader, sample: Sample) -> str | None:
        if header.tensor_count == 0:
            return "it holds no tensors"
        if sample.all_zero:
            return "all of its values are zero"
        if sample.nan:
            more = "at least " if sample.nan + sample.inf >= ENOUGH else ""
            return f"{NOT_FINITE}: {more}{sample.nan} in what was looked at, such as in {_shown(sample.nan_in)}"
        if self._expected.adapter and not any(_ADAPTER.search(t.name) for t in header.tensors):
            return "a LoRA was trained, and it holds none"
        return None

    def _warnings(self, header: SafetensorsHeader, sample: Sample) -> list[str]:
        found = []
        if sample.untrained and not sample.all_zero:
            found.append("the adapter changes nothing: its second matrices are all zero, as before the first step")
        if sample.inf:
            found.append("it holds infinite values")
        if sample.zero_runs:
            found.append(f"{sample.zero_runs * ZERO_RUN // 1024**2} MiB of zeros lie between other values")
        rank = self._expected.rank
        if rank is not None and header.rank is not None and header.rank != rank:
            found.append(f"its rank is {header.rank}, and {rank} was configured")
        if self._expected.adapter is False and header.tensors and all(_ADAPTER.search(t.name) for t in header.tensors):
            found.append("a full model was trained, and it holds an adapter")
        return found


def repeated(files: Sequence[OutputFile]) -> list[OutputFile]:
    """The files, with a warning at weights that equal an earlier checkpoint's to the last bit: either the training
    changed nothing any more, or one was published as the other."""
    earlier = {f.sha256: f.path for f in reversed(files) if f.kind is FileKind.CHECKPOINT and _is_model(f)}
    return [
        f.model_copy(update={"warnings": (*f.warnings, f"it is the same as {earlier[f.sha256]}")})
        if f.kind is FileKind.WEIGHTS and f.sha256 in earlier
        else f
        for f in files
    ]


def _is_model(file: OutputFile) -> bool:
    return file.sha256 is not None and file.path.endswith(".safetensors")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(ascii(name)[:80] for name in names)
