"""SimpleTuner's ``publishing_config`` becomes destinations of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.destinations import MAX_DESTINATIONS, S3Destination
from chalicelib.domain.publishing import FIELD, destinations_of

MINIO = {
    "provider": "s3",
    "bucket": "models",
    "base_path": "/loras/cats/",
    "endpoint_url": "https://minio.example.com:9000/",
    "region": "eu-central-1",
    "access_key": "AKIAEXAMPLE",
}
EXPECTED = S3Destination(
    bucket="models", prefix="loras/cats", endpoint_url="https://minio.example.com:9000", region="eu-central-1"
)


@pytest.mark.parametrize("shape", [lambda e: e, lambda e: [e], lambda e: json.dumps(e), lambda e: json.dumps([e])])
def test_each_way_of_writing_it(shape: Any) -> None:
    found = destinations_of(shape(MINIO))

    assert found.destinations == (EXPECTED,)
    assert found.access_key_ids == ("AKIAEXAMPLE",)
    assert found.problems == ()


@pytest.mark.parametrize("nothing", [None, "", "  ", "null", {}, [], "[]", "{}"])
def test_nothing_asks_for_nothing(nothing: Any) -> None:
    assert destinations_of(nothing) == ((), (), ())


def test_simpletuners_other_names() -> None:
    found = destinations_of(
        {
            "type": "S3-Compatible",
            "bucket": "models",
            "region_name": "auto",
            "aws_access_key_id": "id1",
            "endpoint_url": "store.example.com",
            "use_ssl": False,
            "addressing_style": "virtual",
            "credential": "my-minio",
        }
    )

    assert found.destinations == (
        S3Destination(
            bucket="models",
            endpoint_url="http://store.example.com",
            region="auto",
            path_style=False,
            credential="my-minio",
        ),
    )
    assert found.access_key_ids == ("id1",)


def test_backblaze_knows_its_address_by_the_region() -> None:
    found = destinations_of([{"provider": "b2", "bucket": "models", "region": "us-west-004"}])

    assert [d.endpoint_url for d in found.destinations] == ["https://s3.us-west-004.backblazeb2.com"]
    assert found.access_key_ids == (None,)


def test_this_services_own_storage_is_no_destination() -> None:
    own = {
        "provider": "s3",
        "bucket": "outputs",
        "endpoint_url": "http://127.0.0.1:8001/api/cloud/storage",
        "access_key": "local",
        "use_ssl": False,
    }

    assert destinations_of([own, MINIO]).destinations == (EXPECTED,)
    assert destinations_of(own) == ((), (), ())


@pytest.mark.parametrize("name", ["secret_key", "aws_secret_access_key", "session_token", "aws_session_token"])
def test_a_secret_is_a_problem_and_reaches_nothing(name: str) -> None:
    found = destinations_of([MINIO | {name: "hunter2hunter2"}])

    assert [(p.field, p.code) for p in found.problems] == [(f"{FIELD}.0.{name}", "secret_in_config")]
    assert "stcloud credentials add" in found.problems[0].message
    assert "hunter2" not in repr(found)


def test_a_password_in_the_address_is_a_problem() -> None:
    found = destinations_of(MINIO | {"endpoint_url": "https://me:hunter2@minio.example.com"})

    assert [(p.field, p.code) for p in found.problems] == [(f"{FIELD}.endpoint_url", "secret_in_config")]
    assert found.destinations == ()
    assert "hunter2" not in repr(found)


def test_variables_of_the_trainers_machine() -> None:
    """Keys by variables are no secrets, and find nothing; other values can't be guessed."""
    keys = MINIO | {"access_key": "{env:KEY}", "secret_key": "{env:SECRET}"}

    assert destinations_of(keys) == ((EXPECTED,), (None,), ())
    assert [p.field for p in destinations_of(MINIO | {"bucket": "{env:BUCKET}"}).problems] == [f"{FIELD}.bucket"]


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        ("publishing.json", FIELD, "publishing_invalid"),
        ("[{", FIELD, "publishing_invalid"),
        ("[" * 100_000, FIELD, "publishing_invalid"),
        (7, FIELD, "publishing_invalid"),
        (["s3"], f"{FIELD}.0", "publishing_invalid"),
        ({"bucket": "models"}, f"{FIELD}.provider", "publishing_invalid"),
        ({"provider": "dropbox", "token": "x"}, f"{FIELD}.provider", "publishing_unsupported"),
        ({"provider": "azure_blob"}, f"{FIELD}.provider", "publishing_unsupported"),
        ({"provider": "s3"}, f"{FIELD}.bucket", "publishing_invalid"),
        ({"provider": "s3", "bucket": 7}, f"{FIELD}.bucket", "publishing_invalid"),
        ({"provider": "s3", "bucket": "ab"}, f"{FIELD}.bucket", "publishing_invalid"),
        ({"provider": "b2", "bucket": "models"}, f"{FIELD}.endpoint_url", "publishing_invalid"),
        ({"provider": "b2", "bucket": "models", "region": "a.b/c"}, f"{FIELD}.endpoint_url", "publishing_invalid"),
        (MINIO | {"endpoint_url": "ftp://example.com"}, f"{FIELD}.endpoint_url", "publishing_invalid"),
        (MINIO | {"endpoint_url": "https://[::1"}, f"{FIELD}.endpoint_url", "publishing_invalid"),
        (MINIO | {"credential": "Not A Name"}, f"{FIELD}.credential", "publishing_invalid"),
    ],
)
def test_what_can_not_be_meant(value: Any, field: str, code: str) -> None:
    found = destinations_of(value)

    assert found.destinations == ()
    assert [(p.field, p.code) for p in found.problems] == [(field, code)]


def test_one_bad_entry_leaves_the_others() -> None:
    found = destinations_of([{"provider": "dropbox"}, MINIO, MINIO])

    assert found.destinations == (EXPECTED,)
    assert [p.field for p in found.problems] == [f"{FIELD}.0.provider"]


def test_too_many_destinations() -> None:
    found = destinations_of([MINIO | {"bucket": f"models-{n}"} for n in range(MAX_DESTINATIONS + 1)])

    assert len(found.destinations) == len(found.access_key_ids) == MAX_DESTINATIONS
    assert [p.field for p in found.problems] == [FIELD]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["s3", "b2", "https://a.b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["provider", "bucket", "endpoint_url", "region", "access_key", "base_path"]) | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(_values)
def test_it_never_raises(value: Any) -> None:
    found = destinations_of(value)

    assert len(found.destinations) == len(found.access_key_ids)
