"""People and the audit on a deployed stack with IAM on: the pool is the template's, the first admin needs the code that
was printed, and no function can change what the audit says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
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
        "auth/logout/POST": 20,
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


def statement(table: str, partition: str, sort: str) -> dict[str, Any]:
    item = f"{{'pk': '{partition}', 'sk': '{sort}', 'document': 'first'}}"
    return {"Statement": f'INSERT INTO "{table}" VALUE {item}'}


@pytest.mark.parametrize("function", ["api-handler", "sweep", "finish"])
def test_what_is_in_the_audit_stays_as_it_is_whatever_a_function_tries(deployed: Deployed, function: str) -> None:
    """On a record and a seal that are there, with the function's own rights."""
    root, table = deployed.emulator.client("dynamodb"), deployed.outputs.audit_table
    keys = {kind: {"pk": {"S": kind}, "sk": {"S": function}} for kind in ("audit#2020-01", "seals")}
    for partition in keys:
        root.execute_statement(**statement(table, partition, function))
    user, dynamodb = role_client(deployed, function)
    outcome: dict[str, str] = {}

    def attempt(name: str, call: Callable[..., Any], **arguments: Any) -> None:
        try:
            call(**arguments)
            outcome[name] = "done"
        except ClientError as error:
            outcome[name] = error.response["Error"]["Code"]

    try:
        for partition, key in keys.items():
            changed = key | {"document": {"S": "second"}}
            where = f"WHERE pk='{partition}' AND sk='{function}'"
            on = {"TableName": table, "Key": key}
            attempt(f"{partition} insert", dynamodb.execute_statement, **statement(table, partition, function))
            attempt(f"{partition} put", dynamodb.put_item, TableName=table, Item=changed)
            attempt(
                f"{partition} update",
                dynamodb.update_item,
                **on,
                UpdateExpression="SET document = :d",
                ExpressionAttributeValues={":d": {"S": "second"}},
            )
            attempt(f"{partition} delete", dynamodb.delete_item, **on)
            for request in ({"PutRequest": {"Item": changed}}, {"DeleteRequest": {"Key": key}}):
                attempt(f"{partition} batch {[*request]}", dynamodb.batch_write_item, RequestItems={table: [request]})
            for part in ({"Put": {"TableName": table, "Item": changed}}, {"Delete": on}):
                attempt(f"{partition} transaction {[*part]}", dynamodb.transact_write_items, TransactItems=[part])
            for text in (f"UPDATE \"{table}\" SET document='second' {where}", f'DELETE FROM "{table}" {where}'):
                attempt(f"{partition} {text[:6]}", dynamodb.execute_statement, Statement=text)
                attempt(
                    f"{partition} {text[:6]} transaction",
                    dynamodb.execute_transaction,
                    TransactStatements=[{"Statement": text}],
                )
        attempt("table", dynamodb.delete_table, TableName=table)
        attempt(
            "expiry",
            dynamodb.update_time_to_live,
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "at"},
        )
    finally:
        dynamodb.close()
        remove_user(deployed, user)
    for key in keys.values():
        assert root.get_item(TableName=table, Key=key)["Item"]["document"] == {"S": "first"}
    own = {"api-handler": "audit#2020-01 insert", "sweep": "seals insert"}.get(function)
    expected = dict.fromkeys(outcome, "AccessDeniedException") | ({own: "DuplicateItemException"} if own else {})
    assert outcome == expected
    for key in keys.values():
        root.delete_item(TableName=table, Key=key)


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


def test_what_the_deployment_gave_power_to_is_in_the_audit(deployed: Deployed) -> None:
    status, found = deployed.api("/audit?actor=arn:aws:iam::123456789012:root", token=deployed.outputs.deploy_token)
    assert status == 200, found
    made = {"trainer_key.make", "provider_token.put", "deploy_token.make", "setup_code.make"}
    assert {entry["event_type"] for entry in found["entries"]} == made
    assert all(entry["details"] == {"replaces": False} for entry in found["entries"])
    assert {entry["actor_kind"] for entry in found["entries"]} == {"operator"}


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
