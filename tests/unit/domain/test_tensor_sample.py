"""What is seen in the data of a file that streams by."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.escrow import FileKind, OutputFile
from chalicelib.domain.file_check import Expected, FileCheck, expected_of, repeated
from chalicelib.domain.safetensors import Tensor
from chalicelib.domain.tensor_sample import EXAMINED_BYTES, ZERO_RUN, TensorSampler, non_finite

MiB = 1024 * 1024
NAN_F32, INF_F32, ONE_F32 = struct.pack("<f", math.nan), struct.pack("<f", math.inf), struct.pack("<f", 1.0)


@pytest.mark.parametrize(
    ("dtype", "value", "found"),
    [
        ("F16", struct.pack("<e", math.nan), (1, 0)),
        ("F16", struct.pack("<e", -math.inf), (0, 1)),
        ("F16", struct.pack("<e", 65504.0), (0, 0)),
        ("BF16", NAN_F32[2:], (1, 0)),
        ("BF16", INF_F32[2:], (0, 1)),
        ("BF16", b"\x7f\x7f", (0, 0)),
        ("BF16", b"\x80\xff", (0, 1)),
        ("F32", NAN_F32, (1, 0)),
        ("F32", INF_F32, (0, 1)),
        ("F32", struct.pack("<f", 3.4e38), (0, 0)),
        ("F32", struct.pack("<I", 0xFF800001), (1, 0)),
        ("F64", struct.pack("<d", math.nan), (1, 0)),
        ("F64", struct.pack("<d", math.inf), (0, 1)),
        ("F64", struct.pack("<d", 1.7e308), (0, 0)),
        ("C64", ONE_F32 + NAN_F32, (1, 0)),
        ("F8_E5M2", b"\x7c\x7d\x7e\x7f\x7b", (3, 1)),
        ("F8_E4M3", b"\x7f\xff\x7e\x80", (2, 0)),
        ("F8_E4M3FNUZ", b"\x80\x7f\xff", (1, 0)),
        ("F8_E5M2FNUZ", b"\x80\x7f", (1, 0)),
        ("F8_E8M0", b"\xff\x7f", (1, 0)),
        ("I32", b"\xff\xff\xff\x7f", (0, 0)),
        ("BOOL", b"\xff", (0, 0)),
        ("F4", b"\xff", (0, 0)),
    ],
)
def test_values_that_are_no_numbers(dtype: str, value: bytes, found: tuple[int, int]) -> None:
    assert non_finite(dtype, value) == found
    assert non_finite(dtype, bytes(8) + value) == found
    assert non_finite(dtype, b"") == (0, 0)


@given(st.binary(max_size=64), st.sampled_from([("F16", "e", 2), ("F32", "f", 4), ("F64", "d", 8)]))
def test_every_value_is_judged_as_the_machine_does(data: bytes, kind: tuple[str, str, int]) -> None:
    dtype, letter, width = kind
    values = [value for (value,) in struct.iter_unpack(f"<{letter}", data[: len(data) - len(data) % width])]
    assert non_finite(dtype, data) == (sum(map(math.isnan, values)), sum(map(math.isinf, values)))


def tensor(name: str, size: int, begin: int = 0, dtype: str = "F32") -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=(size // 4,), begin=begin, end=begin + size)


def fed(tensors: list[Tensor], data: bytes, piece: int = 8 * MiB) -> Any:
    sampler = TensorSampler(tensors)
    for at in range(0, len(data), piece):
        sampler.feed(data[at : at + piece])
    return sampler.result


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 37), st.data())
def test_a_small_file_is_looked_at_wholly_however_it_comes(sizes: list[int], piece: int, draw: st.DataObject) -> None:
    tensors, at = [], 0
    for i, size in enumerate(sizes):
        tensors.append(tensor(f"t{i}", size * 4, at))
        at += size * 4
    values = draw.draw(
        st.lists(st.sampled_from([ONE_F32, NAN_F32, INF_F32, bytes(4)]), min_size=at // 4, max_size=at // 4)
    )
    sample = fed(tensors, b"".join(values), piece * 4)
    assert (sample.nan, sample.inf, sample.examined) == (values.count(NAN_F32), values.count(INF_F32), at)
    zero = [t for t in tensors if t.end > t.begin and set(values[t.begin // 4 : t.end // 4]) == {bytes(4)}]
    assert sample.zero_tensors == len(zero)


@pytest.mark.parametrize("where", [0, 100 * MiB - 4, 37 * MiB])
def test_a_large_file_is_sampled_from_its_first_byte_to_its_last(where: int) -> None:
    size = 100 * MiB
    data = bytearray(ONE_F32 * (size // 4))
    # One value, or as much as diverged trainings have: some of every stretch.
    length = 4 if where in {0, size - 4} else 8 * MiB
    data[where : where + length] = NAN_F32 * (length // 4)
    sample = fed([tensor("w", size)], bytes(data))
    assert sample.nan > 0
    assert sample.nan_in == ["w"]
    assert sample.examined <= EXAMINED_BYTES


def test_what_is_examined_is_bounded_with_many_tensors_too() -> None:
    tensors = [tensor(f"t{i}", 4 * MiB, i * 4 * MiB) for i in range(30)]
    sampler = TensorSampler(tensors)
    block = ONE_F32 * (MiB // 4)
    for _ in range(120):
        sampler.feed(block)
    assert EXAMINED_BYTES * 0.9 < sampler.result.examined <= EXAMINED_BYTES


def test_zeros_between_values_are_counted_by_the_mebibyte() -> None:
    data = ONE_F32 * (MiB // 4) + bytes(3 * ZERO_RUN) + ONE_F32 * (MiB // 4)
    assert fed([tensor("w", len(data))], data, MiB).zero_runs == 3
    assert fed([tensor("w", len(data))], data).zero_runs == 3


# --- the whole file -------------------------------------------------------------------------------------------
def weights(tensors: dict[str, bytes], dtype: str = "F32", shapes: dict[str, list[int]] | None = None) -> bytes:
    header, at = {}, 0
    for name, data in tensors.items():
        shape = (shapes or {}).get(name, [len(data) // 4])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


LORA = {"a.lora_A.weight": ONE_F32 * 32, "a.lora_B.weight": ONE_F32 * 32}
SHAPES = {"a.lora_A.weight": [4, 8], "a.lora_B.weight": [8, 4]}
AS_CONFIGURED = Expected(adapter=True, rank=4)


def checked(
    data: bytes,
    expected: Expected = AS_CONFIGURED,
    path: str = "w.safetensors",
    piece: int = 100,
    size: int | None = None,
) -> dict[str, Any]:
    size = len(data) if size is None else size
    check = FileCheck(OutputFile(path=path, size=size, kind=FileKind.WEIGHTS), expected)
    for at in range(0, len(data), piece):
        check.feed(data[at : at + piece])
    return check.outcome(size)


@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_a_sound_adapter(piece: int) -> None:
    found = checked(weights(LORA, shapes=SHAPES), piece=piece)
    assert found["checks"].model_dump() == {"examined_bytes": 256, "nan": 0, "inf": 0, "zero_tensors": 0}
    assert (found["tensors"], found["rank"], found["warnings"]) == (2, 4, ())
    assert "problem" not in found


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bytes(1000), "nothing but zeros"),
        (weights({name: bytes(128) for name in LORA}, shapes=SHAPES), "all of its values are zero"),
        (weights(LORA, shapes=SHAPES)[:-1], "its tensors need 256 bytes"),
        (weights(LORA, shapes=SHAPES)[:5], "ends before the length"),
        (weights(LORA, shapes=SHAPES)[:50], "header alone takes"),
        (weights({**LORA, "a.lora_B.weight": NAN_F32 * 32}, shapes=SHAPES), "(NaN): 32 in what was looked at"),
        (weights({"transformer.w": ONE_F32 * 8}), "a LoRA was trained, and it holds none"),
        (weights({}), "it holds no tensors"),
        (b"not a safetensors file at all", "claims"),
    ],
)
def test_files_that_are_no_models(data: bytes, problem: str) -> None:
    assert problem in checked(data)["problem"]


@pytest.mark.parametrize(
    ("data", "expected", "warning"),
    [
        (weights({**LORA, "a.lora_B.weight": bytes(128)}, shapes=SHAPES), AS_CONFIGURED, "changes nothing"),
        (weights({**LORA, "x.alpha": INF_F32}, shapes=SHAPES), AS_CONFIGURED, "infinite"),
        (weights(LORA, shapes=SHAPES), Expected(adapter=True, rank=16), "its rank is 4, and 16 was configured"),
        (weights(LORA, shapes=SHAPES), Expected(adapter=False), "holds an adapter"),
        (weights({"w": ONE_F32 + bytes(3 * MiB)}), Expected(), "2 MiB of zeros"),
    ],
)
def test_strange_models(data: bytes, expected: Expected, warning: str) -> None:
    found = checked(data, expected, piece=8 * MiB)
    assert "problem" not in found
    assert len(found["warnings"]) == 1
    assert warning in found["warnings"][0]


def test_other_files_are_only_looked_at_for_zeros() -> None:
    assert checked(b"png", path="sample.png") == {}
    assert checked(b"", path="empty.txt") == {}
    assert "zeros" in checked(bytes(3 * MiB + 1), path="sample.png", piece=2 * MiB)["problem"]
    assert checked(bytes(3 * MiB) + b"x", path="sample.png", piece=2 * MiB) == {}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"--model_type": "lora", "--lora_rank": "16"}, Expected(True, 16)),
        ({"model_type": "lora", "lora_rank": 8, "lora_type": "lycoris"}, Expected(True, None)),
        ({"model_type": "lora", "lora_rank": "many"}, Expected(True, None)),
        ({"model_type": "full", "lora_rank": 8}, Expected(False, None)),
        ({"model_type": "controlnet"}, Expected()),
        ({}, Expected()),
    ],
)
def test_what_a_config_promises(config: dict[str, Any], expected: Expected) -> None:
    assert expected_of(config) == expected


def test_weights_that_equal_an_earlier_checkpoint_are_told() -> None:
    def file(path: str, kind: FileKind, sha256: str) -> OutputFile:
        return OutputFile(path=path, size=1, kind=kind, sha256=sha256)

    earlier = file("checkpoint-100/w.safetensors", FileKind.CHECKPOINT, "a")
    state = file("checkpoint-100/state.json", FileKind.CHECKPOINT, "b")
    same, other = file("w.safetensors", FileKind.WEIGHTS, "a"), file("v.safetensors", FileKind.WEIGHTS, "b")
    found = repeated([earlier, state, same, other])
    assert [f.warnings for f in found] == [(), (), ("it is the same as checkpoint-100/w.safetensors",), ()]
