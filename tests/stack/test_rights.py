"""What each function, and the trainer's credentials, may do on the deployed stack: what they need, and no more.

A function's role can be assumed by Lambda alone, so a probe role with the same policies stands for it. A right that is
there is shown beside each that is not: a probe that could do nothing would prove nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import ACCOUNT
from tests.support.places import place_of
from tests.support.stack import Stack

FUNCTIONS = (
    "api-handler", "prepare", "launch", "await-change", "observe", "deliver", "verify", "finish", "sweep", "notify",
    "inspect-plan", "inspect-batch", "inspect-report",
    "archive-plan", "archive-unpack", "archive-assemble",
    "deliver-model", "deliver-piece",
)  # fmt: skip
DENIED = {"AccessDenied", "AccessDeniedException", "403"}
Call = Callable[["Probe"], Any]
NOBODYS_JOB = {"pk": {"S": "job#nobody"}, "sk": {"S": "record"}}


class Probe:
    """Clients with some credentials, and the names of what they are tried on; ``names`` fill the braces of keys."""

    def __init__(self, stack: Stack, credentials: Mapping[str, str]) -> None:
        self._stack, self._credentials, self._clients = stack, credentials, dict[str, Any]()
        facts = stack.facts
        self.jobs, self.keys, self.audit = (facts[f"{t}_table"] for t in ("jobs", "keys", "audit"))
        self.pool = facts["user_pool_id"]
        self.datasets, self.outputs, self.web = (facts[f"{b}_bucket"] for b in ("datasets", "outputs", "web"))
        self.machine = facts["state_machine_arn"]
        self.names: Mapping[str, str] = {}

    def __getattr__(self, service: str) -> Any:
        if service.startswith("_"):
            raise AttributeError(service)
        if service not in self._clients:
            self._clients[service] = self._stack.client(service, **self._credentials)
        return self._clients[service]

    def may(self, call: Call) -> bool:
        """Whether IAM lets the call pass; what comes of it then does not matter."""
        try:
            call(self)
        except ClientError as error:
            return error.response["Error"]["Code"] not in DENIED
        return True

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def parameter(name: str) -> Call:
    return lambda p: p.ssm.get_parameter(Name=f"/stcloud/local/{name}", WithDecryption=True)


def get(bucket: str, key: str) -> Call:
    return lambda p: p.s3.get_object(Bucket=getattr(p, bucket), Key=key.format_map(p.names))


def put(bucket: str, key: str) -> Call:
    return lambda p: p.s3.put_object(Bucket=getattr(p, bucket), Key=key.format_map(p.names), Body=b"probe")


def delete(bucket: str, key: str) -> Call:
    return lambda p: p.s3.delete_object(Bucket=getattr(p, bucket), Key=key.format_map(p.names))


def listing(bucket: str, prefix: str) -> Call:
    return lambda p: p.s3.list_objects_v2(Bucket=getattr(p, bucket), Prefix=prefix)


def query(index: str) -> Call:
    attribute = index.replace("-index", "_pk")
    return lambda p: p.dynamodb.query(
        TableName=p.jobs,
        IndexName=index,
        KeyConditionExpression=f"{attribute} = :v",
        ExpressionAttributeValues={":v": {"S": "probe"}},
    )


def insert(probe: Probe, partition: str) -> Any:
    """Asks for more than an item may have, so that nothing is stored that nobody could remove again."""
    statement = f"INSERT INTO \"{probe.audit}\" VALUE {{'pk': '{partition}', 'sk': 'probe', 'document': ?}}"
    return probe.dynamodb.execute_statement(Statement=statement, Parameters=[{"S": "x" * 420_000}])


CALLS: dict[str, Call] = {
    "read a record": lambda p: p.dynamodb.get_item(TableName=p.jobs, Key=NOBODYS_JOB),
    "delete a record": lambda p: p.dynamodb.delete_item(TableName=p.jobs, Key=NOBODYS_JOB),
    "scan the records": lambda p: p.dynamodb.scan(TableName=p.jobs, Limit=1),
    "read the keys": lambda p: p.dynamodb.get_item(TableName=p.keys, Key=NOBODYS_JOB),
    "revoke a key": lambda p: p.dynamodb.delete_item(TableName=p.keys, Key=NOBODYS_JOB),
    "add an audit record": lambda p: insert(p, "audit#2026-01"),
    "add a seal": lambda p: insert(p, "seals"),
    "put an audit record": lambda p: p.dynamodb.put_item(TableName=p.audit, Item=NOBODYS_JOB),
    "remove an audit record": lambda p: p.dynamodb.delete_item(TableName=p.audit, Key=NOBODYS_JOB),
    "look at a person": lambda p: getattr(p, "cognito-idp").admin_get_user(UserPoolId=p.pool, Username="nobody"),
    "open the user pool": lambda p: getattr(p, "cognito-idp").update_user_pool(UserPoolId=p.pool),
    "list by owner": query("owner-index"),
    "list active jobs": query("active-index"),
    "the provider's token": parameter("replicate-token"),
    "the trainer's key": parameter("trainer-key"),
    "the deploy token's hash": parameter("deploy-token-sha256"),
    "the setup code's hash": parameter("setup-code-sha256"),
    "the key of names": parameter("name-key"),
    "the public address": parameter("public-url"),
    "read a destination's secret": parameter("credentials/probe/hub/000001-x"),
    "store a destination's secret": lambda p: p.ssm.put_parameter(
        Name="/stcloud/local/credentials/probe/hub/000001-x", Value="x", Type="SecureString", Overwrite=True
    ),
    "remove a destination's secret": lambda p: p.ssm.delete_parameter(
        Name="/stcloud/local/credentials/probe/hub/000001-x"
    ),
    "list destinations' secrets": lambda p: p.ssm.get_parameters_by_path(Path="/stcloud/local/credentials/probe"),
    "list the stack's secrets": lambda p: p.ssm.get_parameters_by_path(Path="/stcloud/local", Recursive=True),
    "read a dataset": get("datasets", "local/probe/v/a"),
    "overwrite a dataset": put("datasets", "local/probe/v/a"),
    "delete from a dataset": delete("datasets", "local/probe/v/a"),
    "prepare scratch space": put("datasets", "_scratch/local/probe/a"),
    "remove scratch space": delete("datasets", "_scratch/local/probe/a"),
    "read a report": get("datasets", "_reports/local/probe/v/1/report.json"),
    "write a report": put("datasets", "_reports/local/probe/v/1/report.json"),
    "leave an inspection's work": put("datasets", "_reports/local/probe/v/1/_work/thumbs/1.jpg"),
    "remove a report": delete("datasets", "_reports/local/probe/v/1/report.json"),
    "read an archive": get("datasets", "_archives/local/probe/archive"),
    "remove an archive": delete("datasets", "_archives/local/probe/archive"),
    "write an unpacked file": put("datasets", "_unpacked/local/probe/a-probe/x.jpg"),
    "remove an unpacked file": delete("datasets", "_unpacked/local/probe/a-probe/x.jpg"),
    "write what came of an archive": put("datasets", "_reports/local/probe/a-probe/unpacked.json"),
    "write a manifest": put("datasets", "_manifests/local/probe/v-probe.json"),
    "read a model": get("outputs", "local/probe/artifacts/a"),
    "write a model": put("outputs", "local/probe/artifacts/a"),
    "delete a model": delete("outputs", "local/probe/artifacts/a"),
    "replace a log": delete("outputs", "local/probe/logs/a"),
    "change the console": put("web", "index.html.probe"),
    "start a job": lambda p: p.stepfunctions.start_execution(stateMachineArn=p.machine, name="a", input="no JSON"),
    "start an inspection": lambda p: p.stepfunctions.start_execution(
        stateMachineArn=p.machine.replace("-job", "-inspection"), name="a", input="no JSON"
    ),
    "start unpacking": lambda p: p.stepfunctions.start_execution(
        stateMachineArn=p.machine.replace("-job", "-unpack"), name="a", input="no JSON"
    ),
    "start a delivery": lambda p: p.stepfunctions.start_execution(
        stateMachineArn=p.machine.replace("-job", "-delivery"), name="a", input="no JSON"
    ),
    "note something of a delivery": put("outputs", "local/probe/deliveries/d/a"),
    "forget something of a delivery": delete("outputs", "local/probe/deliveries/d/a"),
    "stop a job": lambda p: p.stepfunctions.stop_execution(executionArn=f"{p.machine}:none"),
    "wake a job": lambda p: p.stepfunctions.send_task_success(taskToken="none", output="{}"),
    "call a function": lambda p: getattr(p, "lambda").get_function(FunctionName="stcloud-local-launch"),
    "look at users": lambda p: p.iam.list_users(),
    "change the stack": lambda p: p.cloudformation.describe_stacks(),
}
_OUTPUTS = {"read a model", "write a model", "note something of a delivery"}
_COMMON = {"read a record"}
_SECRETS = {
    "read a destination's secret", "store a destination's secret", "remove a destination's secret",
    "list destinations' secrets",
}  # fmt: skip
_ARCHIVE = _COMMON | {
    "delete a record", "read an archive", "remove an archive", "remove an unpacked file",
    "write what came of an archive", "leave an inspection's work",
}  # fmt: skip
#: What came of an archive is kept beside the reports.
_REPORTS = {"read a report", "write a report", "write what came of an archive", "leave an inspection's work"}
_DELIVERY = _COMMON | {
    "read a model", "note something of a delivery", "read a destination's secret", "the public address",
}  # fmt: skip
#: Everything else of CALLS is denied.
MAY: dict[str, set[str]] = {
    "api-handler": _COMMON | _OUTPUTS | _SECRETS | {
        "delete a record", "list by owner", "the provider's token", "the deploy token's hash", "the public address",
        "read a dataset", "overwrite a dataset", "delete from a dataset", "prepare scratch space",
        "remove scratch space", "delete a model", "replace a log", "start a job", "wake a job", "read the keys",
        "revoke a key", "add an audit record", "look at a person", "the setup code's hash", "the key of names",
        "read a report", "write a report", "remove a report", "start an inspection",
        "start unpacking", "write an unpacked file", "write a manifest", *_ARCHIVE,
        "start a delivery", "forget something of a delivery",
    },
    "prepare": _COMMON,
    "launch": _COMMON | {"the provider's token", "the trainer's key", "the public address", "prepare scratch space"},
    "await-change": _COMMON | {"wake a job"},
    "observe": _COMMON | _OUTPUTS | {"the provider's token", "replace a log"},
    "deliver": _COMMON | _OUTPUTS,
    "verify": _COMMON | _OUTPUTS,
    "finish": _COMMON | _OUTPUTS | {"remove scratch space", "start a delivery"},
    "sweep": _COMMON | _OUTPUTS | {
        "list active jobs", "the provider's token", "the public address", "replace a log", "remove scratch space",
        "start a job", "wake a job", "delete a record", "delete from a dataset", "delete a model",
        "add a seal", "remove a report", "start an inspection", "remove an archive", "remove an unpacked file",
        "write a report", "write what came of an archive", "leave an inspection's work", "start unpacking",
        "start a delivery", "forget something of a delivery",
    },
    "inspect-plan": _COMMON | _REPORTS | {"delete a record"},
    "inspect-batch": {"read a dataset", "read an archive", "read a report", "leave an inspection's work"},
    "inspect-report": _COMMON | _REPORTS | {"delete a record", "remove a report", "wake a job"},
    "archive-plan": _ARCHIVE | {"write a report"},
    "archive-unpack": _ARCHIVE | {"write a report", "write an unpacked file"},
    "archive-assemble": _ARCHIVE | {"write a report", "write a manifest", "start an inspection"},
    "deliver-model": _DELIVERY | {"delete a record", "forget something of a delivery"},
    "deliver-piece": _DELIVERY,
    # Of the records only its own partitions, by a condition that the emulator does not look at.
    "notify": _COMMON | {"delete a record", "the public address"},
}  # fmt: skip


@pytest.fixture(scope="module", params=FUNCTIONS)
def function(request: pytest.FixtureRequest, whole_stack: Stack) -> Iterator[tuple[str, Probe]]:
    """A function's name and a probe with its rights."""
    name, iam = request.param, whole_stack.client("iam")
    configuration = whole_stack.client("lambda").get_function_configuration(FunctionName=f"stcloud-local-{name}")
    role, probe = configuration["Role"].rpartition("/")[2], f"probe-{name}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    made = iam.create_role(RoleName=probe, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    policies = iam.list_role_policies(RoleName=role)["PolicyNames"]
    for policy in policies:
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        iam.put_role_policy(RoleName=probe, PolicyName=policy, PolicyDocument=json.dumps(document))
    session = whole_stack.client("sts").assume_role(RoleArn=made, RoleSessionName="probe")["Credentials"]
    clients = Probe(whole_stack, boto_names(session))
    try:
        yield name, clients
    finally:
        clients.close()
        for policy in policies:
            iam.delete_role_policy(RoleName=probe, PolicyName=policy)
        iam.delete_role(RoleName=probe)


def boto_names(session: Mapping[str, Any]) -> dict[str, str]:
    return {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }


def test_a_function_may_do_what_it_needs_and_no_more(function: tuple[str, Probe]) -> None:
    name, probe = function
    assert {what for what, call in CALLS.items() if probe.may(call)} == MAY[name]


def test_only_lambda_may_take_a_functions_role(function: tuple[str, Probe], whole_stack: Stack) -> None:
    name, probe = function
    role = whole_stack.client("lambda").get_function_configuration(FunctionName=f"stcloud-local-{name}")["Role"]
    assert not probe.may(lambda p: p.sts.assume_role(RoleArn=role, RoleSessionName="probe"))


# The trainer


@pytest.fixture(scope="module")
def training(whole_stack: Stack) -> Iterator[tuple[str, str, Probe]]:
    """The id of a job that runs, its dataset's prefix, and a probe with what its trainer was handed."""
    stack = whole_stack
    version = stack.push("rights-mine")
    stack.push("rights-other")
    stack.sandbox.faults({"fault": "pace", "seconds": 2})
    job_id = stack.submit("rights-mine", steps=100)["job_id"]
    stack.wait(job_id, "running")
    stack.sandbox.faults()
    (prediction,) = stack.sandbox.predictions(job_id)
    handed = json.loads(prediction["input"]["config_json"])["publishing_config"][0]
    credentials = {
        "aws_access_key_id": handed["access_key"],
        "aws_secret_access_key": handed["secret_key"],
        "aws_session_token": handed["session_token"],
    }
    probe = Probe(stack, credentials)
    try:
        detail = stack.ok("GET", f"/cloud/datasets/rights-mine/versions/{version['version_id']}")
        yield job_id, f"local/rights-mine/{place_of(detail['manifest_url'])}/", probe
    finally:
        probe.close()
        stack.ok("POST", f"/cloud/jobs/{job_id}/cancel")
        stack.wait(job_id, "cancelled")


def test_the_trainer_reads_its_dataset_and_writes_its_outputs(training: tuple[str, str, Probe]) -> None:
    job_id, dataset, probe = training
    found = probe.s3.list_objects_v2(Bucket=probe.datasets, Prefix=dataset)["Contents"]
    pictures = [item["Key"] for item in found if item["Key"].endswith(".png")]
    assert len(pictures) == 6
    assert probe.s3.get_object(Bucket=probe.datasets, Key=pictures[0])["Body"].read().startswith(b"\x89PNG")
    probe.s3.put_object(Bucket=probe.outputs, Key=f"local/{job_id}/artifacts/probe", Body=b"x")
    probe.s3.put_object(Bucket=probe.datasets, Key=f"_scratch/local/{job_id}/probe", Body=b"x")
    probe.s3.delete_object(Bucket=probe.datasets, Key=f"_scratch/local/{job_id}/probe")


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("change its dataset", put("datasets", "{dataset}picture-0.png")),
        ("delete from its dataset", delete("datasets", "{dataset}picture-0.png")),
        ("read another dataset", get("datasets", "local/rights-other/{other}/picture-0.png")),
        ("list another dataset", listing("datasets", "local/rights-other/")),
        ("list all datasets", listing("datasets", "")),
        ("list what begins like its own", listing("datasets", "local/rights-m")),
        ("read another owner's dataset", get("datasets", "somebody/rights-mine/v/picture-0.png")),
        ("read another job's model", get("outputs", "local/another/artifacts/weights.safetensors")),
        ("write another job's model", put("outputs", "local/another/artifacts/weights.safetensors")),
        ("write another owner's model", put("outputs", "somebody/{job}/artifacts/weights.safetensors")),
        ("write its own manifest", put("outputs", "local/{job}/manifest.json")),
        ("write its own log", put("outputs", "local/{job}/logs/000000000001.log")),
        ("delete what it published", delete("outputs", "local/{job}/artifacts/probe")),
        ("list all outputs", listing("outputs", "local/")),
        ("use another job's scratch space", put("datasets", "_scratch/local/another/a")),
        ("change the console", put("web", "index.html")),
        ("read the provider's token", parameter("replicate-token")),
        ("read its own user's key", parameter("trainer-key")),
        ("read a record", CALLS["read a record"]),
        ("start a job", CALLS["start a job"]),
        ("make credentials for others", lambda p: p.sts.get_federation_token(Name="another", DurationSeconds=900)),
        ("look at users", CALLS["look at users"]),
        ("read the keys", CALLS["read the keys"]),
        ("add an audit record", CALLS["add an audit record"]),
        ("look at a person", CALLS["look at a person"]),
    ],
)
def test_the_trainer_may_not(training: tuple[str, str, Probe], stack: Stack, what: str, call: Call) -> None:
    job_id, dataset, probe = training
    other = stack.ok("GET", "/cloud/datasets/rights-other")["latest_version"]
    detail = stack.ok("GET", f"/cloud/datasets/rights-other/versions/{other}")
    probe.names = {"dataset": dataset, "job": job_id, "other": place_of(detail["manifest_url"])}
    assert not probe.may(call), what


# Housekeeping


def test_every_function_has_a_log_that_ends(stack: Stack) -> None:
    groups = {
        g["logGroupName"]: g.get("retentionInDays") for g in stack.client("logs").describe_log_groups()["logGroups"]
    }
    assert {name for name in groups if name.startswith("/aws/lambda/")} == {
        f"/aws/lambda/stcloud-local-{name}" for name in FUNCTIONS
    }
    assert None not in groups.values()


def test_records_that_expire_are_removed_by_the_table(stack: Stack) -> None:
    dynamodb = stack.client("dynamodb")
    for table in (stack.facts["jobs_table"], stack.facts["keys_table"]):
        found = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert (found["TimeToLiveStatus"], found["AttributeName"]) == ("ENABLED", "expires_at")


def test_the_time_limits_leave_room_for_each_other(stack: Stack) -> None:
    """A launch must be over before its lease is; the API before the gateway gives up."""
    functions = {
        name: stack.client("lambda").get_function_configuration(FunctionName=f"stcloud-local-{name}")
        for name in FUNCTIONS
    }
    assert functions["launch"]["Timeout"] < 60
    assert functions["api-handler"]["Timeout"] <= 29
    for name, function in functions.items():
        variables = function["Environment"]["Variables"]
        assert not [v for v in variables.values() if v.startswith(("r8_", "AKIA"))], name
