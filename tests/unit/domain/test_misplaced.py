"""What is taken for a credential in the place of a name, and what is not."""

from __future__ import annotations

import pytest

from chalicelib.domain.misplaced import holds_credential, without_credentials
from tests.support.doors import a_key_text


def test_credentials_are_hidden_wherever_they_stand() -> None:
    key = a_key_text()
    token = f"stc_{'aB-_' * 11}"
    session = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    for secret in (key, token, session, key[:-10]):
        assert holds_credential(secret)
        assert without_credentials(f"key:{secret}/x") == "key:(hidden)/x"


@pytest.mark.parametrize(
    "name",
    [
        a_key_text()[4:27],  # a key's id
        a_key_text()[:12],  # what a key is recognised by
        "01m873dpmdek5smkjny7n19xc1",
        "49931dcf-ef3e-4c06-8169-7af4b529652d",
        "v-2078a67f8cf6b3af7984",
        "stk_photos_2024",
        "stc_style_test_configuration_no_7",
        "eyJ.x.y",
        "my-training-config",
        "写真",
    ],
)
def test_names_stay(name: str) -> None:
    assert not holds_credential(name)
    assert without_credentials(name) == name
