"""The session policy says exactly what the port promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.session_policy import MAX_POLICY_CHARS, PolicyTooLarge, session_policy

BUCKETS = {
    "datasets_bucket": "stcloud-prod-datasets-123456789012",
    "outputs_bucket": "stcloud-prod-outputs-123456789012",
}
DATA, OUT = f"arn:aws:s3:::{BUCKETS['datasets_bucket']}", f"arn:aws:s3:::{BUCKETS['outputs_bucket']}"


def grants(policy: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """(action, resource, list prefixes) for everything the policy allows."""
    found = set()
    for statement in json.loads(policy)["Statement"]:
        assert statement["Effect"] == "Allow"
        condition = statement.get("Condition", {})
        prefixes = tuple(condition.get("StringLike", {}).get("s3:prefix", ()))
        assert set(condition) <= {"StringLike"}
        for action in _list(statement["Action"]):
            for resource in _list(statement["Resource"]):
                found.add((action, resource, prefixes))
    return found


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def make(**changes: Any) -> str:
    options: dict[str, Any] = {
        "read_prefixes": ["o/photos/v-1/", "o/masks/v-2/"],
        "scratch_prefix": "_scratch/o/j/",
        "write_prefix": "o/j/artifacts/",
    }
    return session_policy(**BUCKETS, **options | changes)


def test_it_allows_this_and_nothing_else() -> None:
    listed = ("o/masks/v-2/*", "o/photos/v-1/*", "_scratch/o/j/*")
    assert grants(make()) == {
        ("s3:GetObject", f"{DATA}/o/photos/v-1/*", ()),
        ("s3:GetObject", f"{DATA}/o/masks/v-2/*", ()),
        ("s3:GetObject", f"{DATA}/_scratch/o/j/*", ()),
        ("s3:PutObject", f"{DATA}/_scratch/o/j/*", ()),
        ("s3:AbortMultipartUpload", f"{DATA}/_scratch/o/j/*", ()),
        ("s3:DeleteObject", f"{DATA}/_scratch/o/j/*", ()),
        ("s3:ListBucket", DATA, listed),
        ("s3:GetObject", f"{OUT}/o/j/artifacts/*", ()),
        ("s3:PutObject", f"{OUT}/o/j/artifacts/*", ()),
        ("s3:AbortMultipartUpload", f"{OUT}/o/j/artifacts/*", ()),
        ("s3:ListBucket", OUT, ("o/j/artifacts/*",)),
    }


def test_no_listing_is_without_a_condition() -> None:
    for policy in (make(), make(read_prefixes=[])):
        assert all(prefixes for action, _, prefixes in grants(policy) if action == "s3:ListBucket")


def test_the_partition_is_that_of_the_region() -> None:
    assert all(resource.startswith("arn:aws-cn:s3:::") for _, resource, _ in grants(make(partition="aws-cn")))


def test_a_prefix_named_twice_is_written_once() -> None:
    assert make(read_prefixes=["o/p/v-1/"] * 8) == make(read_prefixes=["o/p/v-1/"])


@pytest.mark.parametrize(
    "prefix",
    ["", "/", "o", "o/p", "/o/", "*/", "o/*/", "o/?/", "o/${a}/", 'o/"/', "o\\/", "o//p/", "ö/", "o/p/\n", "o p/"],
)
@pytest.mark.parametrize("where", ["read_prefixes", "scratch_prefix", "write_prefix"])
def test_a_prefix_that_could_match_other_keys_is_refused(where: str, prefix: str) -> None:
    with pytest.raises(ValueError, match="key prefix"):
        make(**{where: [prefix] if where == "read_prefixes" else prefix})


def test_too_long_a_policy_is_told_before_sts_is_asked() -> None:
    with pytest.raises(PolicyTooLarge) as caught:
        make(read_prefixes=[f"o/{'x' * 100}/v-{i:020x}/" for i in range(8)])
    assert caught.value.size > MAX_POLICY_CHARS


@given(st.lists(st.from_regex(r"[a-z0-9]{1,12}/[A-Za-z0-9._-]{1,30}/v-[0-9a-f]{20}/", fullmatch=True), max_size=10))
def test_every_policy_that_is_made_fits_and_names_only_its_prefixes(prefixes: list[str]) -> None:
    try:
        policy = make(read_prefixes=prefixes)
    except PolicyTooLarge:
        return
    assert len(policy) <= MAX_POLICY_CHARS
    readable = {r.removeprefix(f"{DATA}/") for a, r, _ in grants(policy) if a == "s3:GetObject" and r.startswith(DATA)}
    assert readable == {f"{p}*" for p in prefixes} | {"_scratch/o/j/*"}
