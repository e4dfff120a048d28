"""Secrets put wherever somebody can put one, then looked for wherever a deployed stack says or keeps anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.closed_stack import PASSWORD, Caller, ClosedStack
from tests.support.stack import Stack
from tests.support.trainings import dataloader, training_config

DATASET = "canary-photos"
MARK = "Canary7Zq3xW9"


@dataclass
class Aviary:
    """Planted secrets by where they were put. ``callers`` are those whose answers are looked through."""

    planted: dict[str, str] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)

    def new(self, place: str) -> str:
        """A password that the policy takes, like no other."""
        self.planted[place] = f"{MARK}-{len(self.planted):03d}-Nightingale"
        return self.planted[place]

    def keep(self, place: str, secret: str) -> str:
        """A secret that somebody else made."""
        assert len(secret) >= 20, place
        self.planted[place] = secret
        return secret

    def found_in(self, text: str) -> list[str]:
        """Where the secrets that are in ``text`` were put."""
        return [place for place, secret in self.planted.items() if secret in text or quote(secret) in text]


@pytest.fixture(scope="module")
def aviary(team: ClosedStack) -> Aviary:
    birds = Aviary()
    nobody = listening(team, birds)
    sign_in_and_out(team, birds)
    wrong_passwords(birds, nobody)
    people(team, birds)
    keys(team, birds)
    destinations(team, birds)
    for mistake in MISTAKES:
        mistake(team, birds)
    headers_and_queries(team, birds)
    train(team, birds)
    stack_secrets(team.stack, birds)
    ada = listening(team, birds, "ada")
    for path in ("/audit?limit=200", "/users", "/cloud/jobs?limit=500", "/auth/api-keys", "/cloud/health", "/auth/me"):
        ada.ok("GET", path)
    team.stack.sweep()
    return birds


def listening(team: ClosedStack, birds: Aviary, name: str | None = None) -> Caller:
    """Somebody whose answers will be looked through; ``name`` None is nobody."""
    caller = team.caller(**({} if name is None else {"Authorization": f"Bearer {team[name].access_token}"}))
    birds.callers.append(caller)
    return caller


def sign_in_and_out(team: ClosedStack, birds: Aviary) -> None:
    password = birds.new("a password")
    ada = team["ada"]
    body = {"username": "cana", "email": "cana@example.com", "password": password}
    ada.ok("POST", "/users", json=body)
    cana = team.caller()
    first = cana.ok("POST", "/auth/login", json={"username": "cana", "password": password})
    birds.keep("an access token", first["access_token"])
    birds.keep("a refresh token", first["refresh_token"])
    fresh = cana.ok("POST", "/auth/refresh", json={"refresh_token": first["refresh_token"]})
    birds.keep("a refreshed access token", fresh["access_token"])
    signed_in = team.caller(Authorization=f"Bearer {fresh['access_token']}")
    birds.callers.append(signed_in)
    body = {"current_password": birds.new("a wrong present password"), "new_password": birds.new("a new password")}
    assert signed_in.api("POST", "/auth/change-password", json=body).status == 422
    body = {"current_password": password, "new_password": birds.planted["a new password"]}
    signed_in.ok("POST", "/auth/change-password", json=body)
    second = cana.ok("POST", "/auth/login", json={"username": "cana", "password": body["new_password"]})
    signed_in.ok("POST", "/auth/logout", json={"refresh_token": second["refresh_token"], "everywhere": True})
    birds.keep("a token after sign-out", second["access_token"])
    cookies = team.caller()
    sent = {"username": "cana", "password": birds.planted["a new password"], "session": "cookie"}
    answer = cookies.api("POST", "/auth/login", json=sent)
    assert answer.status == 200
    for cookie in answer.headers.get_list("set-cookie"):
        name, _, value = cookie.partition(";")[0].partition("=")
        birds.keep(f"the cookie {name}", value)
    assert not birds.found_in(answer.text)


def wrong_passwords(birds: Aviary, nobody: Caller) -> None:
    for body in (
        {"username": "rita", "password": birds.new("a wrong password")},
        {"username": birds.new("a password typed as the name"), "password": "x"},
        {"username": [birds.new("a name of a wrong kind")], "password": {"x": birds.new("one too deep")}},
        {"username": "rita", "password": birds.new("beside a wrong field"), "session": birds.new("in a wrong field")},
    ):
        assert nobody.api("POST", "/auth/login", json=body).status in {401, 422}
    challenge = {
        "username": "rita",
        "challenge": "SOFTWARE_TOKEN_MFA",
        "challenge_session": birds.new("a challenge's session"),
        "answer": birds.new("an answer to a challenge"),
    }
    nobody.api("POST", "/auth/login/challenge", json=challenge)
    nobody.api("POST", "/auth/refresh", json={"refresh_token": birds.new("a wrong refresh token")})
    nobody.api("POST", "/auth/logout", json={"refresh_token": birds.new("a wrong token at sign-out")})
    setup = {"username": "eve", "email": "eve@example.com", "password": birds.new("an admin's password")}
    nobody.api("POST", "/auth/setup/first-admin", json={**setup, "setup_code": birds.new("a setup code")})
    nobody.api("POST", "/auth/login", content=f'{{"password": "{birds.new("in broken JSON")}"'.encode())
    form = f"username=rita&password={birds.new('in a form')}".encode()
    nobody.api("POST", "/auth/login", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"})


def people(team: ClosedStack, birds: Aviary) -> None:
    ada = listening(team, birds, "ada")
    for body in (
        {"username": "eve", "email": "no address", "password": birds.new("an invited person's password")},
        {"username": "rita", "email": "r2@example.com", "password": birds.new("the password of one who is there")},
    ):
        assert ada.api("POST", "/users", json=body).status in {409, 422}


def keys(team: ClosedStack, birds: Aviary) -> None:
    made = team.make_key("rita")
    birds.keep("an API key", made["key"])
    birds.keep("an API key's secret", made["key"].split("_", 2)[2][:32])
    rotated = team["rita"].ok("POST", f"/auth/api-keys/{made['key_info']['id']}/rotate", json={"overlap_seconds": 600})
    birds.keep("a rotated key", rotated["key"])
    birds.keep("a rotated key's secret", rotated["key"].split("_", 2)[2][:32])
    for header in ("x_api_key", "Authorization"):
        caller = team.caller(**{header: made["key"] if header == "x_api_key" else f"Bearer {rotated['key']}"})
        birds.callers.append(caller)
        for path in ("/auth/me", "/cloud/jobs", "/configs", "/cloud/datasets"):
            caller.ok("GET", path)
    rita = listening(team, birds, "rita")
    for path in ("/auth/api-keys", f"/auth/api-keys/{made['key_info']['id']}"):
        rita.ok("GET", path)
    rita.api("POST", "/auth/api-keys", json={"name": "x", "scoped_permissions": [birds.new("as a permission")]})


def destinations(team: ClosedStack, birds: Aviary) -> None:
    """Stored, tried, rotated, some deleted; and put where they don't belong."""
    path, rita = "/cloud/credentials", listening(team, birds, "rita")
    hub = {"name": "hub", "kind": "huggingface", "token": birds.new("a token of the Hub")}
    keys_of_s3 = {"secret_access_key": birds.new("a secret access key"), "session_token": birds.new("a session token")}
    rita.ok("POST", path, json=hub)
    rita.ok("POST", path, json={"name": "r2", "kind": "s3", "access_key_id": "AKIAIOSFODNN7EXAMPLE", **keys_of_s3})
    made = team["rita"].ok("POST", path, json={"name": "hook", "kind": "webhook"})
    birds.keep("a signing secret", made["secret"])
    birds.keep("the next signing secret", team["rita"].ok("PUT", f"{path}/hook/secret", json={})["secret"])
    for name, destination in (
        ("hub", {"kind": "huggingface", "repo_id": "acme/cats"}),
        ("r2", {"kind": "s3", "bucket": "models", "endpoint_url": "https://127.0.0.1:9"}),
        ("hook", {"kind": "webhook", "url": "https://127.0.0.1:9/hook"}),
    ):
        rita.api("POST", f"{path}/{name}/test", json={"destination": destination})
        rita.ok("GET", f"{path}/{name}")
    rita.ok("PUT", f"{path}/hub/secret", json={"token": birds.new("the next token of the Hub")})
    rita.ok("DELETE", f"{path}/r2")
    rita.ok("GET", path)
    for body in (
        {**hub, "name": "x", "token": f"{birds.new('half a token')} {birds.new('the other half')}"},
        {**hub, "name": "x", "kind": birds.new("a token as the kind")},
        {**hub, "name": birds.new("a token as the name")},
        {**hub, "name": "x", "secret": birds.new("a token in a wrong field")},
    ):
        assert rita.api("POST", path, json=body).status == 422


def a_key_where_an_id_belongs(team: ClosedStack, birds: Aviary) -> None:
    """``keys revoke`` with the whole key instead of its id is an easy mistake."""
    rita = listening(team, birds, "rita")
    key = birds.keep("a key in a path", team.make_key("rita")["key"])
    assert rita.api("DELETE", f"/auth/api-keys/{key}").status == 404
    assert rita.api("POST", f"/auth/api-keys/{key}/rotate", json={}).status == 404
    assert rita.api("DELETE", f"/cloud/jobs/{key}").status == 404


def secrets_in_configs(team: ClosedStack, birds: Aviary) -> None:
    rita, config = listening(team, birds, "rita"), training_config(6)
    bad: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({**config, "hub_token": birds.new("hub_token")}, dataloader(DATASET)),
        ({**config, "--wandb_api_key": birds.new("wandb_api_key")}, dataloader(DATASET)),
        ({**config, "deep": {"er": [{"password": birds.new("deep inside")}]}}, dataloader(DATASET)),
        ({**config, "report_to": f"https://u:{birds.new('in a URL')}@wandb.test"}, dataloader(DATASET)),
        (config, [{"id": "x", "type": "aws", "aws_secret_access_key": birds.new("a dataloader's secret")}]),
    ]
    for number, (options, loader) in enumerate(bad):
        body = {"config": options, "dataloader_config": loader}
        assert rita.api("POST", "/cloud/jobs/submit?provider=replicate", json=body).status == 422
        assert rita.api("PUT", f"/configs/canary-{number}", json=body).status == 422
        assert rita.api("POST", "/configs", json={"name": f"canary-{number}", **body}).status == 422
    hook = {"id": "x", "status": "succeeded", "token": birds.new("a webhook's body")}
    headers = {"webhook-signature": f"v1,{birds.new('a signature')}", "webhook-id": "m", "webhook-timestamp": "1"}
    listening(team, birds).api("POST", "/webhooks/replicate", json=hook, headers=headers)


MISTAKES = (a_key_where_an_id_belongs, secrets_in_configs)


def headers_and_queries(team: ClosedStack, birds: Aviary) -> None:
    for place, headers in (
        ("a wrong Bearer", {"Authorization": "Bearer {}"}),
        ("a Basic password", {"Authorization": "Basic {}"}),
        ("a bare Authorization", {"Authorization": "{}"}),
        ("a wrong X-API-Key", {"X-API-Key": "{}"}),
        ("something like a key", {"X-API-Key": "stk_{}"}),
        ("something like a deploy token", {"Authorization": "Bearer stc_{}"}),
        ("a wrong session cookie", {"Cookie": "stc_session={}"}),
        ("a wrong refresh cookie", {"Cookie": "stc_refresh={}"}),
        ("a wrong CSRF token", {"Cookie": "stc_csrf=x", "X-CSRF-Token": "{}"}),
    ):
        secret = birds.new(place)
        caller = listening(team, birds)
        for method, path in (("GET", "/cloud/jobs"), ("POST", "/auth/refresh"), ("POST", "/cloud/jobs/submit")):
            sent = {name: value.format(secret) for name, value in headers.items()}
            caller.api(method, path, headers=sent, json={} if method == "POST" else None)
    rita = listening(team, birds, "rita")
    for name in ("token", "access_token", "api_key"):
        rita.api("GET", f"/cloud/jobs?{name}={birds.new(f'the query {name}')}")


def train(team: ClosedStack, birds: Aviary) -> None:
    """A whole training, so that what a job is handed is a secret among the others."""
    stack, rita = team.stack, listening(team, birds, "rita")
    rita.push(DATASET)
    job_id = rita.submit(DATASET)["job_id"]
    rita.wait(job_id, "completed", seconds=120)
    (prediction,) = stack.sandbox.predictions(job_id)
    handed = json.loads(prediction["input"]["config_json"])["publishing_config"][0]
    birds.keep("a job's secret key", handed["secret_key"])
    birds.keep("a job's session token", handed["session_token"])
    for part in ("", "/logs", "/events", "/outputs", "/config", "/inline-progress"):
        rita.ok("GET", f"/cloud/jobs/{job_id}{part}")


def stack_secrets(stack: Stack, birds: Aviary) -> None:
    ssm = stack.client("ssm")

    def parameter(name: str) -> str:
        found = ssm.get_parameter(Name=f"/stcloud/local/{name}", WithDecryption=True)["Parameter"]
        assert found["Type"] == "SecureString"
        return str(found["Value"])

    token = birds.keep("the provider's token", parameter("replicate-token"))
    birds.keep("the trainer's key", json.loads(parameter("trainer-key"))["secret_access_key"])
    address = f"{stack.ports.sandbox_url}/v1/webhooks/default/secret"
    answer = httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False)
    birds.keep("the webhooks' secret", answer.json()["key"])


# --- where to look ----------------------------------------------------------------------------------------------------
def the_answers(_stack: Stack, birds: Aviary) -> Iterator[tuple[str, str]]:
    for caller in birds.callers:
        for number, text in enumerate(caller.heard):
            yield f"answer {number} to {sorted(caller.headers)}", text


def the_logs_of_functions(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    logs = stack.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in (event for page in pages for event in page["events"]):
            yield f"{group['logGroupName']} {event['logStreamName']}", event["message"]


def the_logs_of_programs(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    for path in stack.layout.logs.rglob("*"):
        if path.is_file():
            yield path.name, path.read_text(encoding="utf-8", errors="replace")


def the_tables(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    dynamodb = stack.client("dynamodb")
    for table in dynamodb.list_tables()["TableNames"]:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                yield f"{table} {item['pk']} {item['sk']}", json.dumps(item, default=str)


def the_buckets(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    s3 = stack.client("s3")
    for bucket in (b["Name"] for b in s3.list_buckets()["Buckets"]):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for key in (item["Key"] for item in page.get("Contents", [])):
                found = s3.get_object(Bucket=bucket, Key=key)
                text = found["Body"].read().decode("utf-8", "replace")
                yield f"{bucket}/{key}", f"{key} {found['Metadata']} {text}"


def the_workflows(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    sfn = stack.client("stepfunctions")
    for run in sfn.list_executions(stateMachineArn=stack.facts["state_machine_arn"])["executions"]:
        arn = run["executionArn"]
        yield arn, json.dumps(sfn.describe_execution(executionArn=arn), default=str)
        for page in sfn.get_paginator("get_execution_history").paginate(executionArn=arn):
            yield f"{arn} history", json.dumps(page["events"], default=str)


def the_stack_itself(stack: Stack, _birds: Aviary) -> Iterator[tuple[str, str]]:
    functions, cloudformation = stack.client("lambda"), stack.client("cloudformation")
    for function in functions.list_functions()["Functions"]:
        yield function["FunctionName"], json.dumps(function, default=str)
    for found in cloudformation.describe_stacks()["Stacks"]:
        yield found["StackName"], json.dumps(found, default=str)
        events = cloudformation.describe_stack_events(StackName=found["StackName"])
        yield f"events of {found['StackName']}", json.dumps(events, default=str)
    plain = stack.client("ssm").get_paginator("describe_parameters").paginate()
    for name in (p["Name"] for page in plain for p in page["Parameters"] if p["Type"] == "String"):
        yield name, stack.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    for path in (stack.layout.stack_file, stack.layout.record):
        yield path.name, path.read_text(encoding="utf-8")


PLACES = (
    the_answers,
    the_logs_of_functions,
    the_logs_of_programs,
    the_tables,
    the_buckets,
    the_workflows,
    the_stack_itself,
)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
def test_no_secret_is_where_it_should_not_be(team: ClosedStack, aviary: Aviary, place: Any) -> None:
    looked, found = 0, {}
    for where, text in place(team.stack, aviary):
        looked += 1
        secrets = aviary.found_in(text) + (["a password of the team"] if PASSWORD in text else [])
        if secrets:
            found[where] = secrets
    assert looked > 0
    assert found == {}


def test_the_search_finds_what_is_there(team: ClosedStack, aviary: Aviary) -> None:
    """Ids that are no secrets are in each of the places, so a search that finds nothing has looked."""
    rita, stack = team["rita"], team.stack
    job_id = rita.ok("GET", "/cloud/jobs?limit=1")["jobs"][0]["job_id"]
    for place in (the_answers, the_tables, the_buckets, the_workflows):
        assert any(job_id in f"{where} {text}" for where, text in place(stack, aviary)), place.__name__
    for place, word in (
        (the_logs_of_functions, "DELETE /auth/api-keys/{key_id} -> 404 credential_in_path"),
        (the_logs_of_programs, "Front door"),
        (the_stack_itself, "STC_KEYS_TABLE"),
    ):
        assert any(word in text for _, text in place(stack, aviary)), place.__name__
    assert len(aviary.planted) > 55
    assert len(set(aviary.planted.values())) == len(aviary.planted)
