"""Keys in a user's bucket: below the prefix whatever the names hold, and one per file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.destinations import S3Destination
from chalicelib.domain.foreign_keys import MAX_PATH_CHARS, folder_of, problem_of, safe_path


@pytest.mark.parametrize(
    ("run_name", "folder"),
    [
        ("cats v2", "loras/cats-v2/"),
        ("../../etc", "loras/etc/"),
        ("..", "loras/01job/"),
        ("猫", "loras/01job/"),
        ("", "loras/01job/"),
        ("a/b\\c\x00d", "loras/a-b-c-d/"),
        ("x" * 300, f"loras/{'x' * 100}/"),
    ],
)
def test_folders(run_name: str, folder: str) -> None:
    assert folder_of(S3Destination(bucket="models", prefix="/loras/"), run_name, "01job") == folder


def test_without_a_prefix() -> None:
    assert folder_of(S3Destination(bucket="models"), "cats", "01job") == "cats/"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.safetensors"),
        ("samples/step-100.png", "samples/step-100.png"),
        ("samples/ein Bild.png", "samples/ein_Bild-5d708f8b.png"),
        ("../up.bin", "up-dce5e83d.bin"),
        ("a//b", "a/b-7a9acf33"),
    ],
)
def test_paths(path: str, key: str) -> None:
    assert safe_path(path) == key


@given(st.text(max_size=600), st.text(max_size=600))
def test_no_two_files_meet_and_none_leaves_its_folder(one: str, other: str) -> None:
    for path in (one, other):
        key = safe_path(path)
        assert 0 < len(key.encode()) <= MAX_PATH_CHARS
        assert not {"", ".", ".."} & set(key.split("/"))
    if one != other:
        assert safe_path(one) != safe_path(other)


@given(st.text(max_size=200), st.text(min_size=1, max_size=40))
def test_folders_stay_below_the_prefix(run_name: str, job_id: str) -> None:
    folder = folder_of(S3Destination(bucket="models", prefix="a/b"), run_name, "01job")

    assert folder.startswith("a/b/")
    assert folder.count("/") == 3
    assert folder.split("/")[2] not in {"", ".", ".."}


@pytest.mark.parametrize(
    "destination",
    [
        S3Destination(bucket="arn:aws:s3:us-east-1:1:accesspoint/x"),
        S3Destination(bucket="models/loras"),
        S3Destination(bucket="models?x"),
        S3Destination(bucket="models", region="us-east-1.evil.example/"),
        S3Destination(bucket="models", prefix="a/../b"),
        S3Destination(bucket="models", prefix="a//b"),
        S3Destination(bucket="models", prefix="a\nb"),
    ],
)
def test_what_is_no_destination(destination: S3Destination) -> None:
    problem = problem_of(destination)

    assert problem is not None
    assert all(text.endswith(".") for text in problem)


@pytest.mark.parametrize(
    "destination",
    [
        S3Destination(bucket="Old_Bucket.1", region="auto", prefix="/ein Ordner/ä/"),
        S3Destination(bucket="models", region="us-west-004"),
    ],
)
def test_what_is_one(destination: S3Destination) -> None:
    assert problem_of(destination) is None
