"""People and the audit on a deployed stack with IAM on: the pool is the template's, the first admin needs the code that
was printed, and no function can change what the audit says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.deploy import deploy
from tests.support.deployed import Deployed, running_deployment

PASSWORD = "Correct-Horse-1"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, build_dir: Path) -> Iterator[Deployed]:
    with running_deployment(tmp_path_factory.mktemp("stack"), build_dir) as deployed:
        yield deployed


def test_the_user_pool_is_what_the_template_says(deployed: Deployed) -> None:
    cognito = deployed.emulator.client("cognito-idp")
    ids = {"UserPoolId": deployed.outputs.user_pool_id}
    pool = cognito.describe_user_pool(**ids)["UserPool"]
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] == 12
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert pool["AliasAttributes"] == ["email"]
    assert pool["MfaConfiguration"] == "OPTIONAL"
    assert cognito.get_user_pool_mfa_config(**ids)["SoftwareTokenMfaConfiguration"] == {"Enabled": True}
    found = cognito.describe_user_pool_client(**ids, ClientId=deployed.outputs.user_pool_client_id)["UserPoolClient"]
    assert "ClientSecret" not in found
    assert (found["AccessTokenValidity"], found["TokenValidityUnits"]["AccessToken"]) == (15, "minutes")
    assert found["PreventUserExistenceErrors"] == "ENABLED"
    groups = cognito.list_groups(**ids)["Groups"]
    assert {group["GroupName"] for group in groups} == {"admin", "lead", "researcher", "viewer"}


def test_the_gateway_has_the_limits_of_each_class_of_routes(deployed: Deployed) -> None:
    stage = deployed.emulator.client("apigateway").get_stage(restApiId=deployed.outputs.api_id, stageName="api")
    limits = {path: kept["throttlingRateLimit"] for path, kept in stage["methodSettings"].items()}
    assert limits["*/*"] == 200
    # AWS shows the paths plain, the emulator as they were written.
    assert {path.replace("~1", "/").lstrip("/"): rate for path, rate in limits.items() if path != "*/*"} == {
        "auth/login/POST": 20,
        "auth/login/challenge/POST": 20,
        "auth/login/pool-token/POST": 20,
        "auth/mfa/authenticator/verify/POST": 5,
        "auth/mfa/authenticator/remove/POST": 5,
        "auth/refresh/POST": 20,
        "auth/change-password/POST": 5,
        "auth/setup/first-admin/POST": 2,
        "auth/api-keys/POST": 10,
        "cloud/auth/api-keys/POST": 10,
        "auth/api-keys/{key_id}/rotate/POST": 10,
        "cloud/auth/api-keys/{key_id}/rotate/POST": 10,
        "users/POST": 5,
    }


def role_client(deployed: Deployed, function: str) -> Any:
    """DynamoDB with the rights of a deployed function."""
    found = deployed.emulator.client("lambda").get_function(FunctionName=f"stcloud-local-{function}")
    iam, role = deployed.emulator.client("iam"), found["Configuration"]["Role"].split("/")[-1]
    user = f"like-{role}"[:60]
    iam.create_user(UserName=user)
    document = iam.get_role_policy(RoleName=role, PolicyName="work")["PolicyDocument"]
    iam.put_user_policy(UserName=user, PolicyName="work", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    return user, deployed.emulator.client(
        "dynamodb", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )


@pytest.mark.parametrize("function", ["api-handler", "sweep", "finish"])
def test_the_audit_is_append_only_for_every_function(deployed: Deployed, function: str) -> None:
    user, dynamodb = role_client(deployed, function)
    table, key = deployed.outputs.audit_table, {"pk": {"S": "audit#2026-01"}, "sk": {"S": function}}
    writes = function != "finish"
    gone = {"RequestItems": {table: [{"DeleteRequest": {"Key": key}}]}}
    attempts = {
        "put": (lambda: dynamodb.put_item(TableName=table, Item=key | {"document": {"S": "{}"}}), writes),
        "query": (
            lambda: dynamodb.query(
                TableName=table, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": key["pk"]}
            ),
            writes,
        ),
        "update": (
            lambda: dynamodb.update_item(
                TableName=table,
                Key=key,
                UpdateExpression="SET document = :d",
                ExpressionAttributeValues={":d": {"S": "x"}},
            ),
            False,
        ),
        "delete": (lambda: dynamodb.delete_item(TableName=table, Key=key), False),
        "batch": (lambda: dynamodb.batch_write_item(**gone), False),
        "transaction": (
            lambda: dynamodb.transact_write_items(TransactItems=[{"Delete": {"TableName": table, "Key": key}}]),
            False,
        ),
        "partiql": (
            lambda: dynamodb.execute_statement(
                Statement=f"DELETE FROM \"{table}\" WHERE pk='audit#2026-01' AND sk='{function}'"
            ),
            False,
        ),
        "table": (lambda: dynamodb.delete_table(TableName=table), False),
        "expiry": (
            lambda: dynamodb.update_time_to_live(
                TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "at"}
            ),
            False,
        ),
    }
    outcome = {}
    try:
        for name, (attempt, _) in attempts.items():
            try:
                attempt()
                outcome[name] = True
            except ClientError as error:
                outcome[name] = "AccessDenied" not in str(error)
    finally:
        dynamodb.close()
        remove_user(deployed, user)
    assert outcome == {name: allowed for name, (_, allowed) in attempts.items()}


def remove_user(deployed: Deployed, user: str) -> None:
    iam = deployed.emulator.client("iam")
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=user, PolicyName="work")
    iam.delete_user(UserName=user)


def hash_of(deployed: Deployed, name: str) -> str | None:
    """What is stored of a code or token."""
    ssm = deployed.emulator.client("ssm")
    found = ssm.get_parameters(Names=[f"/stcloud/local/{name}"])["Parameters"]
    return str(found[0]["Value"]) if found else None


def test_the_first_admin_needs_the_printed_code_and_ends_it_and_the_deploy_token(deployed: Deployed) -> None:
    """Last in the file: from here on there is an admin."""
    printed, deploy_token = deployed.outputs.setup_code, deployed.outputs.deploy_token
    assert printed is not None
    assert deploy_token is not None
    assert hash_of(deployed, "setup-code-sha256") == hashlib.sha256(printed.encode()).hexdigest()
    code = deploy(replace(deployed.options, new_setup_code=True), lambda _: None).setup_code
    assert code not in {None, printed}
    assert hash_of(deployed, "setup-code-sha256") == hashlib.sha256(str(code).encode()).hexdigest()

    wanted = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}

    def first_admin(**more: str | None) -> int:
        return deployed.api("/auth/setup/first-admin", method="POST", body=wanted | more)[0]

    assert first_admin() == 401
    assert first_admin(setup_code="setup_" + "A" * 32) == 401
    assert first_admin(setup_code=printed) == 401
    assert first_admin(setup_code=code) == 200
    assert first_admin(setup_code=code) == 409

    status, signed_in = deployed.api("/auth/login", method="POST", body={"username": "Ada", "password": PASSWORD})
    assert status == 200, signed_in
    session = signed_in["access_token"]
    status, me = deployed.api("/auth/me", token=session)
    assert (status, me["username"], me["is_admin"]) == (200, "ada", True)
    for sent in (session[:-4] + "AAAA", signed_in.get("refresh_token", "x.y.z")):
        assert deployed.api("/auth/me", token=sent)[0] == 401

    said: list[str] = []
    after = deploy(replace(deployed.options, new_setup_code=True, rotate_deploy_token=True), said.append)
    assert (after.has_admin, after.setup_code, after.deploy_token) == (True, None, None)
    assert any("stcloud login" in line for line in said)
    assert hash_of(deployed, "setup-code-sha256") is None
    assert hash_of(deployed, "deploy-token-sha256") is None
    assert deployed.api("/cloud/jobs", token=deploy_token)[0] == 401
    assert deployed.api("/cloud/jobs", token=session)[0] == 200
