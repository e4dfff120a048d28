"""What a deployment refuses before it touches anything, and what it tells the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from chalicelib.store import access
from infra.deploy import FIRST_ADMIN, outputs_of, parameters
from infra.errors import DeployError, explained
from infra.options import DeployOptions, is_loopback
from infra.template_parts import load_template
from tests.unit.infra.fakes import refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "Prod"}, "can't name a stage"),
        ({"stage": "x"}, "can't name a stage"),
        ({"endpoint_url": "http://10.0.0.5:4566"}, "not on this computer"),
        ({"endpoint_url": "http://localhost.evil.example:4566"}, "not on this computer"),
        ({"auth_mode": "local"}, "works on the emulator alone"),
        ({"endpoint_url": "http://127.0.0.1:4566", "only_through_distribution": True}, "is for AWS"),
        ({"public_url": "http://cloud.example"}, "must be https"),
        ({"public_url": "https://cloud.example/"}, "without a slash"),
        ({"provider_base_url": "ftp://x"}, "origin"),
        ({"custom_domain": "cloud.example"}, "go together"),
        ({"password_minimum_length": 7}, "from 8 to 99"),
        ({"sign_in_domain": "lab"}, "go together"),
        ({"sign_in_callback_urls": ("https://lab.example/",)}, "go together"),
        ({"sign_in_domain": "lab", "sign_in_callback_urls": ("http://lab.example/",)}, "https only"),
        ({"identity_providers": ()}, "Nobody could sign in"),
        ({"web_dist": Path("/nowhere/dist")}, "npm run build"),
    ],
)
def test_what_cannot_be_right_is_refused_with_advice(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError, match=message):
        DeployOptions(**{"stage": "test", **changes}).check()


def test_the_emulator_may_be_without_tokens_and_on_plain_http() -> None:
    DeployOptions(
        stage="local", endpoint_url="http://127.0.0.1:8002", auth_mode="local", public_url="http://localhost:8001"
    ).check()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost:1", True),
        ("http://0.0.0.0:1", False),
        ("http://example.com", False),
        ("127.0.0.1:1", False),
    ],
)
def test_loopback_addresses_are_told_from_others(url: str, local: bool) -> None:
    assert is_loopback(url) is local


def test_tables_are_protected_in_production_on_aws_only_unless_told() -> None:
    assert DeployOptions(stage="prod").protected
    assert not DeployOptions(stage="staging").protected
    assert not DeployOptions(stage="prod", endpoint_url="http://127.0.0.1:1").protected
    assert not DeployOptions(stage="prod", deletion_protection=False).protected
    assert DeployOptions(stage="staging", deletion_protection=True).protected


def test_on_aws_the_distribution_is_the_one_door_unless_told() -> None:
    assert DeployOptions(stage="prod").one_door
    assert DeployOptions(stage="prod", custom_domain="c.example", certificate_arn="arn").one_door
    assert not DeployOptions(stage="prod", public_url="https://proxy.example").one_door
    assert DeployOptions(stage="prod", public_url="https://proxy.example", only_through_distribution=True).one_door
    assert not DeployOptions(stage="prod", only_through_distribution=False).one_door
    assert not DeployOptions(stage="local", endpoint_url="http://127.0.0.1:1").one_door
    assert parameters(DeployOptions(stage="prod"), "secret", one_door=True)["OnlyThroughDistribution"] == "true"
    assert parameters(DeployOptions(stage="prod"), "secret")["OnlyThroughDistribution"] == "false"


def test_every_parameter_is_one_of_the_template_and_secrets_are_none_of_them() -> None:
    options = DeployOptions(stage="local", endpoint_url="http://127.0.0.1:8002", provider_token="r8_" + "s" * 37)
    given = parameters(options)
    assert set(given) <= set(load_template()["Parameters"])
    assert given["EmulatorPort"] == "8002"
    assert given["IsEmulator"] == "true"
    assert given["S3EndpointUrl"] == "http://127.0.0.1:8002"
    assert "r8_" not in repr(given)
    assert "r8_" not in repr(options)


def test_on_aws_nothing_of_the_emulator_is_told() -> None:
    given = parameters(DeployOptions(stage="prod"))
    assert given["IsEmulator"] == "false"
    assert given["S3EndpointUrl"] == ""
    assert given["AuthMode"] == "token"
    assert given["DeletionProtection"] == "true"
    assert "EmulatorPort" not in given


def test_who_signs_in_how_is_told_to_the_template() -> None:
    given = parameters(
        DeployOptions(
            stage="prod",
            mfa="on",
            sign_in_domain="lab",
            sign_in_callback_urls=("https://lab.example/", "http://localhost:8976/"),
            identity_providers=("COGNITO", "Okta"),
        )
    )
    assert (given["MfaMode"], given["PasswordMinimumLength"], given["SignInDomain"]) == ("ON", "12", "lab")
    assert given["SignInCallbackUrls"] == "https://lab.example/,http://localhost:8976/"
    assert given["IdentityProviders"] == "COGNITO,Okta"


def test_a_foreign_stack_of_the_same_name_is_noticed() -> None:
    with pytest.raises(DeployError, match="lacks the output 'PublicUrl'"):
        outputs_of(DeployOptions(stage="test"), {}, changed=False, deploy_token=None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoCredentialsError(), "aws sso login"),
        (EndpointConnectionError(endpoint_url="https://x"), "Is the region right"),
        (refused("AccessDenied", "not authorized to perform: iam:CreateRole", "CreateRole"), "iam:CreateRole"),
        (refused("ExpiredToken", "expired"), "Sign in again"),
        (refused("Throttling", "Rate exceeded", "CreateStack"), "CreateStack with Throttling: Rate exceeded"),
    ],
)
def test_what_the_sdk_raises_becomes_a_sentence(error: Exception, message: str) -> None:
    with pytest.raises(DeployError, match=message), explained():
        raise error


def test_other_errors_are_not_disguised() -> None:
    with pytest.raises(KeyError), explained():
        raise KeyError("bug")


def test_the_first_admin_is_looked_for_where_the_store_notes_it() -> None:
    assert {"pk": {"S": access._SETUP}, "sk": {"S": access._FIRST_ADMIN}} == FIRST_ADMIN
