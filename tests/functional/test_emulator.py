"""The emulator's launcher: what ministack alone gets wrong, and what it must keep over a stop and over a kill."""

from __future__ import annotations

import io
import json
import signal
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.emulator import (
    ACCOUNT,
    REGION,
    Emulator,
    kill_group,
    running_emulator,
    start_emulator,
    stop_emulator,
)

T = TypeVar("T")
WAIT_SECONDS = 30.0
CODE = """
import os, time

class BudgetExceeded(Exception):
    pass

def handler(event, context):
    if event.get("raise"):
        raise BudgetExceeded("too much")
    if event.get("env"):
        return dict(os.environ)
    if event.get("sleep"):
        started = time.time()
        time.sleep(event["sleep"])
        return {"pid": os.getpid(), "started": started, "ended": time.time()}
    return {"pid": os.getpid(), "links": os.stat(__file__).st_nlink, "mode": os.stat(__file__).st_mode & 0o777}

def image(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "image/png"}, "body": "iVBORw==", "isBase64Encoded": True}

def count(event, context):
    import boto3
    boto3.client("dynamodb").update_item(
        TableName="ticks", Key={"pk": {"S": "tick"}}, UpdateExpression="ADD n :one",
        ExpressionAttributeValues={":one": {"N": "1"}})
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def role(aws: Emulator) -> str:
    return make_role(aws, "worker", ["lambda:InvokeFunction"])


def statement(actions: list[str], resource: str = "*") -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}]}
    )


def make_role(aws: Emulator, name: str, actions: list[str]) -> str:
    services = ["lambda.amazonaws.com", "states.amazonaws.com"]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam = aws.client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=statement(actions))
    return str(arn)


def make_function(aws: Emulator, name: str, role: str, handler: str = "handler") -> str:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("work.py", CODE)
    functions = aws.client("lambda")
    code = {"ZipFile": package.getvalue()}
    made = functions.create_function(
        FunctionName=name, Runtime="python3.12", Role=role, Handler=f"work.{handler}", Timeout=20, Code=code
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return str(made["FunctionArn"])


def make_table(aws: Emulator, name: str) -> None:
    aws.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )


def invoke(aws: Emulator, name: str, event: dict[str, Any]) -> dict[str, Any]:
    answer = aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    with answer["Payload"] as body:
        result: dict[str, Any] = json.loads(body.read())
    return result


def until(what: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"nothing came within {WAIT_SECONDS} s")


def test_at_most_eight_calls_of_a_function_run_at_a_time(aws: Emulator, role: str) -> None:
    make_function(aws, "capped", role)
    with ThreadPoolExecutor(20) as pool:
        runs = list(pool.map(lambda _: invoke(aws, "capped", {"sleep": 0.3}), range(20)))
    busiest = max(sum(other["started"] <= run["started"] < other["ended"] for other in runs) for run in runs)
    assert 2 <= busiest <= 8
    assert len({run["pid"] for run in runs}) <= 8


def test_an_exception_keeps_its_name_and_its_worker(aws: Emulator, role: str) -> None:
    make_function(aws, "raises", role)
    before = invoke(aws, "raises", {})
    failed = invoke(aws, "raises", {"raise": True})
    assert failed["errorType"] == "BudgetExceeded"
    assert failed["errorMessage"] == "too much"
    assert any("raise BudgetExceeded" in line for line in failed["stackTrace"])
    assert invoke(aws, "raises", {})["pid"] == before["pid"]


def test_a_state_machine_catches_an_exception_by_name(aws: Emulator, role: str) -> None:
    function = make_function(aws, "step", role)
    states = aws.client("stepfunctions")
    catch = [
        {"ErrorEquals": ["SomethingElse"], "Next": "Wrong"},
        {"ErrorEquals": ["BudgetExceeded"], "ResultPath": "$.caught", "Next": "Right"},
    ]
    task = {"Type": "Task", "Resource": function, "End": True, "Catch": catch}
    ends = {"Wrong": {"Type": "Fail"}, "Right": {"Type": "Pass", "End": True}}
    definition = {"StartAt": "Try", "States": {"Try": task} | ends}
    machine = states.create_state_machine(name="catches", definition=json.dumps(definition), roleArn=role)
    run = states.start_execution(stateMachineArn=machine["stateMachineArn"], input=json.dumps({"raise": True}))

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = states.describe_execution(executionArn=run["executionArn"])
        return found if found["status"] != "RUNNING" else None

    result = until(ended)
    assert result["status"] == "SUCCEEDED"
    assert json.loads(result["output"])["caught"]["Error"] == "BudgetExceeded"


def test_a_lambda_sees_nothing_of_the_developers_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "my-company")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running_emulator(tmp_path) as aws:
        make_function(aws, "env", make_role(aws, "worker", ["s3:ListAllMyBuckets"]))
        seen = invoke(aws, "env", {"env": True})
    assert not {"AWS_PROFILE", "HTTP_PROXY", "HF_TOKEN", "PYTHONPATH"} & seen.keys()
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert seen["AWS_ENDPOINT_URL"] == aws.url


def test_workers_share_one_read_only_copy_of_the_code(aws: Emulator, role: str) -> None:
    make_function(aws, "shared", role)
    seen = invoke(aws, "shared", {})
    assert seen["links"] >= 2
    assert seen["mode"] == 0o444


def test_binary_answers_and_the_gateways_own_come_as_the_template_says(aws: Emulator, role: str) -> None:
    function = make_function(aws, "image", role, "image")
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
    operation = {
        "responses": {},
        "x-amazon-apigateway-integration": {"type": "aws_proxy", "httpMethod": "POST", "uri": uri},
    }
    body = {
        "swagger": "2.0",
        "info": {"title": "pictures", "version": "1"},
        "x-amazon-apigateway-binary-media-types": ["image/png"],
        "x-amazon-apigateway-gateway-responses": {
            "MISSING_AUTHENTICATION_TOKEN": {
                "statusCode": "404",
                "responseParameters": {"gatewayresponse.header.Content-Type": "'application/problem+json'"},
                "responseTemplates": {"application/json": '{"code":"route_not_found","id":"$context.requestId"}'},
            }
        },
        "paths": {"/picture": {"get": operation}},
    }
    permit = {"FunctionName": function, "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com"}
    stage = {"RestApiId": {"Ref": "Api"}, "StageName": "api"}
    template = {
        "Resources": {
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "pictures", "Body": body}},
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": stage},
            "Permit": {"Type": "AWS::Lambda::Permission", "Properties": permit},
        },
        "Outputs": {"Id": {"Value": {"Ref": "Api"}}},
    }
    stacks = aws.client("cloudformation")
    stacks.create_stack(StackName="pictures", TemplateBody=json.dumps(template))
    stacks.get_waiter("stack_create_complete").wait(StackName="pictures", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    api = stacks.describe_stacks(StackName="pictures")["Stacks"][0]["Outputs"][0]["OutputValue"]
    address = f"{aws.url}/_aws/execute-api/{api}/api/picture"
    with urllib.request.urlopen(urllib.request.Request(address, headers={"Accept": "image/png"}), timeout=20) as answer:
        assert answer.read() == b"\x89PNG"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}s", timeout=20)
    with refused.value as unknown:
        assert (unknown.code, unknown.headers["Content-Type"]) == (404, "application/problem+json")
        assert json.loads(unknown.read())["code"] == "route_not_found"


def test_a_schedule_fires_under_iam_and_over_a_restart(tmp_path: Path) -> None:
    with running_emulator(tmp_path) as first:
        make_table(first, "ticks")
        function = make_function(first, "ticker", make_role(first, "ticker", ["dynamodb:UpdateItem"]), "count")
        events = first.client("events")
        rule = events.put_rule(Name="often", ScheduleExpression="rate(1 minute)")["RuleArn"]
        events.put_targets(Rule="often", Targets=[{"Id": "1", "Arn": function}])
        first.client("lambda").add_permission(
            FunctionName="ticker",
            StatementId="rule",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=rule,
        )
    _make_rules_an_hour_old(tmp_path / "emulator" / "services" / "eventbridge.json")
    with running_emulator(tmp_path) as second:
        dynamodb = second.client("dynamodb")
        item = until(lambda: dynamodb.get_item(TableName="ticks", Key={"pk": {"S": "tick"}}).get("Item"))
        assert int(item["n"]["N"]) >= 1


def _make_rules_an_hour_old(state: Path) -> None:
    """The countdown of a rate begins when the rule is made; a test need not wait a minute for it."""
    data = json.loads(state.read_text(encoding="utf-8"))
    rules = data["payload"]["rules"]["data"]
    assert rules
    for rule in rules.values():
        rule["CreationTime"] -= 3600
    state.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Host": "evil.example"}),
        ("/", {"Origin": "https://evil.example"}),
        ("/", {"Origin": "null"}),
        ("/", {"Sec-Fetch-Site": "cross-site"}),
        ("/?Action=DeleteUser&UserName=somebody", {}),
        ("/_ministack/reset", {}),
    ],
)
def test_web_pages_and_the_administration_are_refused(aws: Emulator, path: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(aws.url + path, method="POST", data=b"", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    refused.value.close()
    assert refused.value.code == 403


def fill(aws: Emulator) -> dict[str, str]:
    """One of everything that must come back; returns the credentials of a federated session."""
    make_table(aws, "jobs")
    item = {"pk": {"S": "job"}, "n": {"N": "7"}, "raw": {"B": b"\x00\xff"}}
    aws.client("dynamodb").put_item(TableName="jobs", Item=item)
    aws.client("s3").create_bucket(Bucket="outputs")
    aws.client("s3").put_object(Bucket="outputs", Key="a/b.bin", Body=b"weights")
    aws.client("ssm").put_parameter(Name="/stack/token", Value="r8_x", Type="SecureString")
    make_function(aws, "kept", make_role(aws, "kept", ["s3:ListAllMyBuckets"]))
    iam = aws.client("iam")
    iam.create_user(UserName="trainer")
    broad = statement(["s3:*", "sts:GetFederationToken"])
    iam.put_user_policy(UserName="trainer", PolicyName="p", PolicyDocument=broad)
    key = iam.create_access_key(UserName="trainer")["AccessKey"]
    sts = aws.client("sts", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    narrow = statement(["s3:GetObject"], "arn:aws:s3:::outputs/a/*")
    session = sts.get_federation_token(Name="job", Policy=narrow, DurationSeconds=3600)["Credentials"]
    sts.close()
    return {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }


def check(aws: Emulator, session: dict[str, str]) -> None:
    item = aws.client("dynamodb").get_item(TableName="jobs", Key={"pk": {"S": "job"}})["Item"]
    assert (item["n"], item["raw"]) == ({"N": "7"}, {"B": b"\x00\xff"})
    assert aws.client("ssm").get_parameter(Name="/stack/token", WithDecryption=True)["Parameter"]["Value"] == "r8_x"
    assert invoke(aws, "kept", {})["pid"] > 0
    s3 = aws.client("s3", **session)
    with s3.get_object(Bucket="outputs", Key="a/b.bin")["Body"] as body:
        assert body.read() == b"weights"
    s3.close()


def test_everything_is_back_after_a_clean_stop(tmp_path: Path) -> None:
    first = start_emulator(tmp_path)
    try:
        session = fill(first)
    finally:
        stop_emulator(first)
    assert first.process.returncode == 0
    with running_emulator(tmp_path) as second:
        check(second, session)


def test_everything_but_the_last_seconds_is_back_after_a_kill(tmp_path: Path) -> None:
    first = start_emulator(tmp_path)
    try:
        session = fill(first)
        saved = [tmp_path / "emulator" / "services" / f"{n}.json" for n in ("dynamodb", "lambda", "iam", "ssm", "sts")]
        until(lambda: all(path.exists() for path in saved))
        until(lambda: "kept" in saved[1].read_text(encoding="utf-8"))
        until(lambda: session["aws_access_key_id"] in saved[4].read_text(encoding="utf-8"))
    finally:
        first.close()
        kill_group(first.process)
    assert first.process.returncode == -signal.SIGKILL
    with running_emulator(tmp_path) as second:
        check(second, session)
        assert second.account == ACCOUNT
