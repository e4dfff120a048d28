"""Logs, manifests, idempotency hashes, permissions, verdicts."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.datasets import (
    ManifestFile,
    file_problem,
    is_name,
    merkle_root,
    path_problem,
    sorted_files,
    version_id_of,
)
from chalicelib.domain.escrow import FileKind, file_kind
from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.idempotency import differing_fields, field_hashes, key_hash
from chalicelib.domain.jobs import DeliverySummary, Job, JobStatus
from chalicelib.domain.lifecycle import prediction_is_over, verdict
from chalicelib.domain.logs import extend_log, utf8_slice
from chalicelib.domain.permissions import Permission, Principal, administrator

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHA = "a" * 64


@pytest.mark.parametrize(
    ("kept", "seen", "merged"),
    [
        (b"", b"abc", b"abc"),
        (b"abc", b"abcdef", b"abcdef"),
        (b"abcdef", b"abc", b"abcdef"),
        (b"abc", b"", b"abc"),
        (b"0123456789", b"6789abc", b"0123456789abc"),
    ],
)
def test_a_log_only_grows(kept: bytes, seen: bytes, merged: bytes) -> None:
    if kept == b"0123456789":
        # a provider that cut the head: the kept tail is found inside what it shows
        kept, seen = b"x" * 600 + kept, b"x" * 520 + kept + b"abc"
        merged = kept + b"abc"
    assert extend_log(kept, seen) == merged


def test_a_gap_is_marked() -> None:
    assert b"not kept by the provider" in extend_log(b"first part", b"something else entirely")


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_log_never_loses_what_was_kept(kept: bytes, seen: bytes) -> None:
    assert extend_log(kept, seen).startswith(kept)


@given(st.text(min_size=1, max_size=50), st.integers(4, 30))
def test_a_cut_log_is_always_whole_utf8(text: str, limit: int) -> None:
    data = text.encode("utf-8", "ignore")
    out, at = b"", 0
    while at < len(data):
        part = utf8_slice(data[at : at + limit], at_end=at + limit >= len(data))
        part.decode()
        assert part
        out, at = out + part, at + len(part)
    assert out == data


@pytest.mark.parametrize(
    "path",
    ["", "/abs", "C:/x", "a/../b", "../b", "a//b", "a/./b", "a\\b", "a\nb", "a\x00", "x" * 600, "a/", "\ud800"],
)
def test_bad_paths_are_refused(path: str) -> None:
    assert path_problem(path) is not None


@pytest.mark.parametrize("path", ["a.jpg", "sub/a.jpg", "日本語/写真.png", "..a", "a b.txt", ".hidden"])
def test_good_paths_pass(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(("size", "sha"), [(-1, SHA), (6 * 1024**3, SHA), (1, "A" * 64), (1, "zz"), (1, SHA + "\n")])
def test_bad_manifest_lines_are_refused(size: int, sha: str) -> None:
    assert file_problem(ManifestFile(path="a", size=size, sha256=sha)) is not None


def test_the_merkle_root_depends_on_content_and_not_on_order() -> None:
    files = [ManifestFile(path=p, size=i, sha256=f"{i:064x}") for i, p in enumerate(["b", "a", "c", "a/b", "é"])]
    root = merkle_root(files)
    assert root == merkle_root(list(reversed(files)))
    for i, file in enumerate(files):
        for change in ({"size": 99}, {"path": "z"}, {"sha256": SHA}):
            other = [*files[:i], file.model_copy(update=change), *files[i + 1 :]]
            assert merkle_root(other) != root
    assert version_id_of(root) == "v-" + root[:20]
    assert merkle_root([]) != merkle_root(files[:1])


def test_files_sort_as_s3_lists_them() -> None:
    paths = ["a/b", "a", "a.txt", "B", "é", "z", "\U0001f600"]
    files = sorted_files(ManifestFile(path=p, size=0, sha256=SHA) for p in paths)
    assert [f.path for f in files] == sorted(paths, key=str.encode)


@pytest.mark.parametrize(
    ("name", "good"),
    [("my-set_1.0", True), ("", False), ("-a", False), ("a..b", False), ("a/b", False), ("a\n", False)],
)
def test_names(name: str, good: bool) -> None:
    assert is_name(name) is good


def test_idempotency_hashes_ignore_order_and_nulls() -> None:
    one = field_hashes({"config": {"a": 1, "b": [1, 2]}, "x": None})
    two = field_hashes({"config": {"b": [1, 2], "a": 1}})
    assert one == two
    assert differing_fields(one, field_hashes({"config": {"a": 2}, "name": "n"})) == ["config", "name"]
    assert key_hash("k") != key_hash("K")


def test_all_implies_own_and_not_the_reverse() -> None:
    lead = Principal("o", frozenset({Permission.JOB_VIEW_ALL}))
    assert lead.may(Permission.JOB_VIEW_OWN)
    assert not Principal("o", frozenset({Permission.JOB_VIEW_OWN})).may(Permission.JOB_VIEW_ALL)
    assert all(administrator("o").may(p) for p in Permission)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("checkpoint-200/pytorch_lora_weights.safetensors", FileKind.WEIGHTS),
        ("run/checkpoint-200/x.safetensors", FileKind.WEIGHTS),
        ("checkpoint-100/pytorch_lora_weights.safetensors", FileKind.CHECKPOINT),
        ("pytorch_lora_weights.safetensors", FileKind.WEIGHTS),
        ("checkpoint-200/state.json", FileKind.CHECKPOINT),
        ("validation_images/a.PNG", FileKind.SAMPLE),
        ("README.md", FileKind.OTHER),
    ],
)
def test_file_kinds(path: str, kind: FileKind) -> None:
    assert file_kind(path, 200) is kind


def job(**changes: object) -> Job:
    base = Job(
        job_id="j",
        owner="o",
        provider="replicate",
        created_at=NOW,
        updated_at=NOW,
        hardware_profile="h100",
        hardware_type="H100",
        model="m",
        price_per_second=Decimal(0),
        max_run_seconds=1,
    )
    return base.model_copy(update=changes)


FAILURE = Failure(code="x", kind=FaultKind.USER, message="m")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"delivery": DeliverySummary(verified_at=NOW)}, JobStatus.COMPLETED, None),
        ({"delivery": DeliverySummary(verified_at=NOW), "cancel_requested_at": NOW}, JobStatus.COMPLETED, None),
        ({"cancel_requested_at": NOW}, JobStatus.CANCELLED, None),
        ({"cancel_requested_at": NOW, "failure": FAILURE}, JobStatus.CANCELLED, None),
        ({"failure": FAILURE}, JobStatus.FAILED, "x"),
        ({"provider_status": "canceled"}, JobStatus.CANCELLED, None),
        ({"provider_status": "succeeded"}, JobStatus.FAILED, "not_verified"),
        ({}, JobStatus.FAILED, "not_verified"),
    ],
)
def test_verdicts(changes: dict[str, object], status: JobStatus, code: str | None) -> None:
    got, failure = verdict(job(**changes))
    assert (got, failure.code if failure else None) == (status, code)


@pytest.mark.parametrize(
    ("provider_status", "over"),
    [
        ("starting", False),
        ("processing", False),
        ("weird", False),
        ("succeeded", True),
        ("aborted", True),
        (None, False),
    ],
)
def test_a_prediction_is_over_only_when_the_provider_says_so(provider_status: str | None, over: bool) -> None:
    assert prediction_is_over(job(prediction_id="p", provider_status=provider_status)) is over
