"""Archives: whatever the bytes, there is a verdict; whatever the files, each form of archive gives the same version."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.domain.archive_names import ENCODINGS, EncodingVote, decode, judge_name, shown
from chalicelib.domain.archives import ArchiveStatus
from chalicelib.domain.datasets import path_problem
from tests.corpus import tars
from tests.corpus.archives import CASES
from tests.fakes.world import World
from tests.support.unpacking import unpack

SMALL = [data for case in CASES if len(data := case.make()) < 20_000]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
paths = st.lists(st.text("ab.写é ", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join)


@given(st.sampled_from(SMALL), st.data())
@QUICK
def test_damage_of_any_kind_gets_a_verdict(whole: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(0, len(damaged) - 1)))
        match draw.draw(st.sampled_from(["flip", "cut", "insert", "full"])):
            case "flip" if damaged:
                damaged[at] ^= draw.draw(st.integers(1, 255))
            case "cut":
                del damaged[at:]
            case "insert":
                damaged[at:at] = draw.draw(st.binary(max_size=40))
            case "full":
                damaged[at : at + 4] = b"\xff" * 4
    if not damaged:
        return
    found = unpack(World(), bytes(damaged))
    assert found.archive.status in {ArchiveStatus.READY, ArchiveStatus.FAILED}
    assert (found.archive.failure is None) == bool(found.files)
    assert all(path_problem(path) is None for path in found.files)


@given(st.binary(min_size=1, max_size=3_000))
@QUICK
def test_so_do_bytes_of_any_kind(data: bytes) -> None:
    assert unpack(World(), data).archive.status.is_over


@given(names, st.booleans())
@QUICK
def test_a_name_is_left_out_or_can_be_a_file(name: str, backslashes: bool) -> None:
    verdict = judge_name(name, backslashes=backslashes)
    if verdict.code is None:
        assert path_problem(verdict.path) is None
        assert judge_name(verdict.path, backslashes=backslashes) == verdict
    else:
        assert verdict.reason
    assert shown(verdict.path).isprintable() or any(not c.isprintable() for c in verdict.path)
    assert len(shown(verdict.path)) <= 512


@given(st.lists(st.binary(max_size=20)))
@QUICK
def test_all_names_can_be_read_in_the_encoding_that_is_found(raws: list[bytes]) -> None:
    vote = EncodingVote()
    for raw in raws:
        vote.see(raw)
    assert vote.winner in {"ascii", *ENCODINGS}
    assert all("\ufffd" not in decode(raw, vote.winner) or "\ufffd".encode() in raw for raw in raws)


def zip_by_python(files: dict[str, bytes], method: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def tar_by_python(files: dict[str, bytes], form: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


@given(st.dictionaries(paths, st.binary(max_size=400), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_form_gives_the_same_version(files: dict[str, bytes]) -> None:
    tar = tar_by_python(files, tarfile.GNU_FORMAT)
    forms = [
        *(zip_by_python(files, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)),
        tar,
        tar_by_python(files, tarfile.PAX_FORMAT),
        tars.xz(tar),
        tars.gz(tar),
    ]
    found = [unpack(World(), data) for data in forms]
    assert len({f.code for f in found}) == 1
    assert len({f.archive.version_id for f in found}) == 1
    assert all(f.files == found[0].files for f in found)
    assert all(f.left_out == found[0].left_out for f in found)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_others_with_long_names(form: int) -> None:
    files = {f"{'d' * 40}/{'e' * 40}/{i}{'f' * 40}.txt": b"x" * i for i in range(20)}
    assert len(unpack(World(), tar_by_python(files, form)).files) == 20
