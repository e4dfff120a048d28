"""Broken values count as missing; known ones are kept for a while."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.aws.parameters import StackParameters
from chalicelib.errors import Unavailable
from tests.fakes.aws import InMemoryParameters


@pytest.mark.parametrize("value", ["", " ", "unset", "ftp://x", "https://", "https://a b", "https://x/path", "//x"])
def test_what_is_no_public_url_counts_as_none(value: str) -> None:
    with pytest.raises(Unavailable) as caught:
        StackParameters(InMemoryParameters({"public-url": value})).public_url()
    assert caught.value.code == "not_deployed"


@pytest.mark.parametrize("value", ["", "abc", "ab" * 31, "ab" * 33, "zz" * 32, "unset"])
def test_a_broken_token_hash_lets_nobody_in(value: str) -> None:
    assert StackParameters(InMemoryParameters({"deploy-token-sha256": value})).deploy_token_sha256() is None


@pytest.mark.parametrize(
    "value",
    [
        *["", "null", "[]", "{}", "nope", '"text"', "3", '{"access_key_id":"a"}'],
        '{"access_key_id":"","secret_access_key":"s"}',
        '{"access_key_id":1,"secret_access_key":2}',
    ],
)
def test_a_broken_trainer_key_counts_as_none(value: str) -> None:
    assert StackParameters(InMemoryParameters({"trainer-key": value})).trainer_key() is None


@pytest.mark.parametrize("value", ["", "ab", "ab" * 31, "zz" * 32, "ab" * 32 + "a", "unset"])
def test_a_broken_key_of_names_hashes_none(value: str) -> None:
    with pytest.raises(Unavailable) as caught:
        StackParameters(InMemoryParameters({"name-key": value})).name_key()
    assert caught.value.code == "not_deployed"


def test_a_blank_provider_token_means_not_configured() -> None:
    assert StackParameters(InMemoryParameters({"replicate-token": " \n"})).provider_token("replicate") is None


def test_values_are_read_once_while_fresh_even_by_many_threads() -> None:
    source = InMemoryParameters({"replicate-token": "r8", "trainer-key": "{}"})
    stack = StackParameters(source, lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: stack.provider_token("replicate"), range(50))) == {"r8"}
    assert source.reads == 1
    stack.trainer_key()
    stack.trainer_key()
    assert source.reads == 2
    stack.trainer_key(refresh=True)
    assert source.reads == 3


def test_a_store_that_does_not_answer_is_no_missing_value() -> None:
    class Busy:
        def get(self, name: str) -> str | None:
            raise Unavailable("busy")

    stack = StackParameters(Busy())
    for read in (stack.deploy_token_sha256, stack.public_url, lambda: stack.provider_token("replicate")):
        with pytest.raises(Unavailable, match="busy"):
            read()
