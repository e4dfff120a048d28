"""The template's doors: who may touch people, keys and the audit, how long sessions live, what is throttled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app import app
from chalicelib.domain.permissions import Role
from infra.template_parts import load_template
from tests.unit.infra.described import FUNCTIONS, RESOURCES, ROOT, as_list, of_type, reads, role_of, statements

#: Whatever can change, replace or remove an item that is there. An insert of PartiQL can't.
CHANGING = {
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:PartiQLUpdate",
    "dynamodb:PartiQLDelete",
}

#: Functions that send something to a destination.
READ_SECRETS = {"deliver_model", "deliver_piece", "notify"}


def touches(statement: dict[str, Any], table: str) -> bool:
    return f'"{table}"' in json.dumps(statement["Resource"]) or f"${{{table}." in json.dumps(statement["Resource"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_changes_or_removes_records_of_the_audit(function: str) -> None:
    own = [s for s in statements(role_of(function)) if touches(s, "AuditTable")]
    (deny,) = (s for s in own if s["Effect"] == "Deny" and "Condition" not in s)
    assert set(deny["Action"]) == CHANGING
    assert deny["Resource"] == {"Fn::GetAtt": ["AuditTable", "Arn"]}
    allowed = {a for s in own if s["Effect"] == "Allow" for a in as_list(s["Action"])}
    writes = function in {"api_handler", "sweep"}
    assert allowed == ({"dynamodb:PartiQLInsert", "dynamodb:Query"} if writes else set())


def test_seals_are_the_sweepers_and_nothing_else_is() -> None:
    for function, operator in (("api_handler", "StringEquals"), ("sweep", "StringNotEquals")):
        own = [s for s in statements(role_of(function)) if touches(s, "AuditTable")]
        (deny,) = (s for s in own if s["Effect"] == "Deny" and "Condition" in s)
        assert deny["Action"] == "dynamodb:PartiQLInsert"
        assert deny["Condition"] == {f"ForAnyValue:{operator}": {"dynamodb:LeadingKeys": ["seals"]}}


def test_nobody_else_of_the_account_changes_them_either() -> None:
    statement, settings = RESOURCES["AuditTable"]["Properties"]["ResourcePolicy"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert set(statement["Action"]) == CHANGING
    assert "Condition" not in statement
    table = RESOURCES["AuditTable"]["Properties"]["TableName"]["Fn::Sub"]
    assert statement["Resource"]["Fn::Sub"].endswith(f":table/{table}")
    assert (settings["Effect"], settings["Principal"], settings["Resource"]) == ("Deny", "*", statement["Resource"])
    assert set(settings["Action"]) == {
        "dynamodb:UpdateTimeToLive",
        "dynamodb:UpdateContinuousBackups",
        "dynamodb:UpdateTable",
        "dynamodb:DeleteTable",
    }
    # A request that no service sent on behalf of somebody has no aws:CalledVia, which ForAllValues takes for a match.
    assert settings["Condition"] == {
        "ForAllValues:StringNotEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}
    }


def test_people_and_keys_are_for_the_api_alone() -> None:
    for function in FUNCTIONS:
        own = statements(role_of(function))
        pool = [a for s in own for a in as_list(s["Action"]) if a.startswith("cognito-idp:")]
        keys = [s for s in own if touches(s, "KeysTable")]
        assert bool(pool) == bool(keys) == (function == "api_handler")
        assert all(touches(s, "UserPool") for s in own if any("cognito-idp" in a for a in as_list(s["Action"])))
    assert [f for f in FUNCTIONS if "setup-code-sha256" in reads(f)] == ["api_handler"]


def test_the_pool_has_a_group_for_each_role() -> None:
    groups = of_type("AWS::Cognito::UserPoolGroup").values()
    assert {group["GroupName"] for group in groups} == {role.value for role in Role}
    # A role is never a way to AWS itself.
    assert not [group for group in groups if "RoleArn" in group]


def test_passwords_reach_the_pool_through_our_api_alone() -> None:
    client = RESOURCES["UserPoolClient"]["Properties"]
    # Flows without ADMIN are open to everybody who knows the client's id.
    assert client["ExplicitAuthFlows"] == ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True
    assert client["AllowedOAuthFlows"]["Fn::If"] == ["HasManagedLogin", ["code"], {"Ref": "AWS::NoValue"}]
    pool = RESOURCES["UserPool"]["Properties"]
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert pool["DeletionProtection"] == {"Fn::If": ["Protected", "ACTIVE", "INACTIVE"]}
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}


def test_a_new_address_counts_once_its_owner_has_confirmed_it() -> None:
    """Until then a stolen session could have the code of a forgotten password mailed to itself."""
    settings = RESOURCES["UserPool"]["Properties"]["UserAttributeUpdateSettings"]
    assert settings == {"AttributesRequireVerificationBeforeUpdate": ["email"]}


def test_passwords_are_reset_by_mail_only_where_that_is_wanted() -> None:
    (way,) = RESOURCES["UserPool"]["Properties"]["AccountRecoverySetting"]["RecoveryMechanisms"]
    assert way == {"Name": {"Fn::If": ["ResetByMail", "verified_email", "admin_only"]}, "Priority": 1}
    assert load_template()["Parameters"]["PasswordReset"]["Default"] == "ADMIN"


def test_sessions_are_short_and_renewed_for_a_month() -> None:
    client = RESOURCES["UserPoolClient"]["Properties"]
    units = client["TokenValidityUnits"]
    assert (client["AccessTokenValidity"], units["AccessToken"]) == (15, "minutes")
    assert (client["RefreshTokenValidity"], units["RefreshToken"]) == (30, "days")


def test_what_tries_a_password_or_makes_a_credential_is_throttled_far_below_the_rest() -> None:
    everything, *classes = RESOURCES["RestAPI"]["Properties"]["MethodSettings"]
    assert (everything["HttpMethod"], everything["ResourcePath"]) == ("*", "/*")
    paths = {setting["ResourcePath"].replace("~1", "/")[1:] for setting in classes}
    assert paths == {
        "/auth/login",
        "/auth/login/challenge",
        "/auth/login/pool-token",
        "/auth/mfa/authenticator/verify",
        "/auth/mfa/authenticator/remove",
        "/auth/refresh",
        "/auth/logout",
        "/auth/change-password",
        "/auth/setup/first-admin",
        "/auth/api-keys",
        "/cloud/auth/api-keys",
        "/auth/api-keys/{key_id}/rotate",
        "/cloud/auth/api-keys/{key_id}/rotate",
        "/users",
    }
    # A limit of a route that is not there limits nothing.
    assert paths <= {path for path, methods in app.routes.items() if "POST" in methods}
    for setting in classes:
        assert setting["HttpMethod"] == "POST"
        assert setting["ThrottlingRateLimit"] <= everything["ThrottlingRateLimit"] / 10
        assert setting["ThrottlingBurstLimit"] <= everything["ThrottlingBurstLimit"] / 10


def test_an_operator_hears_of_records_that_were_lost() -> None:
    words = RESOURCES["AuditLost"]["Properties"]["FilterPattern"].strip('"')
    # What the API writes then, and what the filter looks for.
    assert f'"{words}: ' in (ROOT / "chalicelib" / "services" / "audit.py").read_text()
    (metric,) = RESOURCES["AuditLost"]["Properties"]["MetricTransformations"]
    alarm = RESOURCES["AuditLostAlarm"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
    assert alarm["Threshold"] == 1


def test_the_distribution_alone_vouches_for_the_viewers_address() -> None:
    template = load_template()
    secret = template["Parameters"]["OriginSecret"]
    assert (secret["NoEcho"], secret["Default"]) == (True, "")
    distribution = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    api = next(o for o in distribution["Origins"] if o["Id"] == "api")
    assert api["OriginCustomHeaders"]["Fn::If"][1] == [
        {"HeaderName": "X-Stcloud-Origin", "HeaderValue": {"Ref": "OriginSecret"}}
    ]
    (behavior,) = distribution["CacheBehaviors"]
    (association,) = behavior["FunctionAssociations"]
    assert association["FunctionARN"] == {"Fn::GetAtt": ["ViewerAddress", "FunctionARN"]}
    # The function sets the header, so a viewer's own is overwritten.
    code = template["Resources"]["ViewerAddress"]["Properties"]["FunctionCode"]
    assert 'request.headers["x-stcloud-viewer"] = ' in code
    used = [n for n, r in template["Resources"].items() if '"OriginSecret"' in json.dumps(r)]
    assert used == ["Distribution"]


def test_secrets_of_destinations_are_the_apis_to_change_and_the_deliverers_to_read() -> None:
    found: dict[str, set[str]] = {}
    for function in FUNCTIONS:
        for statement in statements(role_of(function)):
            if "/credentials/" not in json.dumps(statement["Resource"]):
                continue
            assert statement["Effect"] == "Allow"
            if function == "notify":
                # Signing secrets of channels alone: credentials' names are in lower case.
                assert statement["Action"] == "ssm:GetParameter"
                assert statement["Resource"]["Fn::Sub"].endswith("/credentials/*/Channel.*")
                continue
            assert statement["Resource"]["Fn::Sub"].endswith(":parameter/stcloud/${Stage}/credentials/*")
            found.setdefault(function, set()).update(as_list(statement["Action"]))
    assert found.pop("api_handler") == {
        "ssm:PutParameter",
        "ssm:GetParameter",
        "ssm:DeleteParameter",
        "ssm:GetParametersByPath",
    }
    assert found.keys() <= READ_SECRETS
    assert all(actions == {"ssm:GetParameter"} for actions in found.values())
