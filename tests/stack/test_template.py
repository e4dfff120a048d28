"""The packaged template, and the deploy program on an emulator with IAM on: the stack it makes answers, is made once,
keeps its functions inside their rights, serves the console, and goes away whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import deploy, destroy
from infra.errors import DeployError
from infra.options import DeployOptions
from infra.package import package
from tests.support.deployed import TOKEN, Deployed, running_deployment


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, build_dir: Path) -> Iterator[Deployed]:
    with running_deployment(tmp_path_factory.mktemp("stack"), build_dir) as deployed:
        yield deployed


def test_cfn_lint_finds_nothing_in_the_template_for_aws(build_dir: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    # The wheels do not matter here, so those of this computer do.
    built = package("prod", on_emulator=True, build_dir=build_dir, say=print)
    template.write_text(json.dumps(built.located("bucket")))
    command = [sys.executable, "-c", "from cfnlint.runner import main; main()", "--regions", "us-east-1"]
    done = subprocess.run([*command, "--template", str(template)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")


def test_packaging_twice_gives_the_same_bytes_wherever_it_happens(build_dir: Path, tmp_path: Path) -> None:
    one = package("local", on_emulator=True, build_dir=build_dir, say=print)
    (tmp_path / "vendor").symlink_to(build_dir / "vendor")
    other = package("local", on_emulator=True, build_dir=tmp_path, say=print)
    assert one.main.path != other.main.path
    assert set(one.archives) == set(other.archives)  # their keys are their hashes
    assert one.template == other.template


def test_the_archive_holds_the_code_compiled_and_nothing_the_runtime_has(build_dir: Path) -> None:
    built = package("local", on_emulator=True, build_dir=build_dir, say=print)
    with zipfile.ZipFile(built.main.path) as packed:
        names = set(packed.namelist())
    assert {"app.py", "chalicelib/wiring.py", "chalice/app.py", "pydantic/main.py", "pynamodb/models.py"} <= names
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    assert f"chalicelib/__pycache__/wiring.{tag}.pyc" in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"boto3", "botocore", "urllib3", "pip", "tests", "infra", "local"}


def test_the_api_answers_and_every_part_is_well(deployed: Deployed) -> None:
    assert deployed.api("/cloud/health/live") == (200, {"status": "ok"})
    status, health = deployed.api("/cloud/health")
    assert (status, health["status"]) == (200, "healthy"), health
    assert health["stage"] == "local"
    assert health["sandbox"] is True


def test_only_the_token_that_was_shown_once_opens_the_api(deployed: Deployed) -> None:
    token = deployed.outputs.deploy_token
    assert token is not None
    assert deployed.api("/cloud/jobs")[0] == 401
    assert deployed.api("/cloud/jobs", token=token + "x")[0] == 401
    assert deployed.api("/cloud/jobs", token=token)[0] == 200
    assert token not in repr(deployed.outputs)
    ssm = deployed.emulator.client("ssm")
    kept = ssm.get_parameter(Name="/stcloud/local/deploy-token-sha256")["Parameter"]["Value"]
    assert kept == hashlib.sha256(token.encode()).hexdigest()


def test_deploying_again_changes_nothing(deployed: Deployed) -> None:
    ssm = deployed.emulator.client("ssm")

    def secrets() -> list[tuple[str, int]]:
        names = ["replicate-token", "trainer-key", "deploy-token-sha256", "setup-code-sha256", "name-key"]
        found = ssm.get_parameters(Names=[f"/stcloud/local/{n}" for n in names], WithDecryption=True)["Parameters"]
        return sorted((p["Name"], p["Version"]) for p in found)

    before = secrets()
    again = deploy(deployed.options, lambda _: None)
    assert again == replace(deployed.outputs, changed=False, deploy_token=None, setup_code=None)
    assert secrets() == before
    assert len(before) == 5


def test_local_programs_find_the_stack_in_the_file(deployed: Deployed) -> None:
    assert deployed.options.stack_file is not None
    found = json.loads(deployed.options.stack_file.read_text())
    assert set(found) == {
        "stage", "port", "public_url", "emulator_url", "sandbox_url", "api_id", "distribution_domain",
        "datasets_bucket", "outputs_bucket", "web_bucket", "jobs_table", "keys_table", "state_machine_arn",
        "audit_table", "user_pool_id", "user_pool_client_id",
    }  # fmt: skip
    assert found["api_id"] == deployed.outputs.api_id
    assert TOKEN not in deployed.options.stack_file.read_text()


def test_records_expire_in_both_tables(deployed: Deployed) -> None:
    dynamodb = deployed.emulator.client("dynamodb")
    for table in (deployed.outputs.jobs_table, deployed.outputs.keys_table):
        state = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert (state["TimeToLiveStatus"], state["AttributeName"]) == ("ENABLED", "expires_at")


@pytest.mark.parametrize(
    ("path", "text"),
    [("/", "console"), ("/jobs/abc", "console"), ("/docs", "reference"), ("/docs/", "reference")],
)
def test_the_console_is_served_for_its_paths_under_a_strict_policy(deployed: Deployed, path: str, text: str) -> None:
    status, headers, body = deployed.page(path)
    assert (status, body) == (200, f"<title>{text}</title>")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert f"img-src 'self' {deployed.emulator.url}; connect-src 'self';" in policy
    assert policy.endswith("require-trusted-types-for 'script'; trusted-types 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Strict-Transport-Security" not in headers


def test_the_console_and_the_api_share_one_origin(deployed: Deployed) -> None:
    status, headers, body = deployed.page("/api/cloud/health/live")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert deployed.page("/assets/app-0123abcd.js")[1]["Cache-Control"] == "public, max-age=31536000, immutable"


def test_an_execution_for_an_unknown_job_ends_at_once(deployed: Deployed) -> None:
    states = deployed.emulator.client("stepfunctions")
    started = states.start_execution(
        stateMachineArn=deployed.outputs.state_machine_arn,
        name="nobody-1",
        input=json.dumps({"job_id": "nobody", "attempt": 1}),
    )["executionArn"]
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = states.describe_execution(executionArn=started)
        if found["status"] != "RUNNING":
            break
        time.sleep(0.1)
    assert found["status"] == "SUCCEEDED", found
    assert json.loads(found["output"])["next"] == "done"


def test_the_sweeper_may_do_its_work(deployed: Deployed) -> None:
    answer = deployed.emulator.client("lambda").invoke(FunctionName="stcloud-local-sweep", Payload=b"{}")
    report = json.loads(answer["Payload"].read())
    assert report["active"] == 0, report
    # The provider is not there in this test; that it was asked shows that its token could be read.
    assert report["provider_errors"] == 1


def test_the_console_bucket_holds_exactly_what_was_built(deployed: Deployed) -> None:
    s3 = deployed.emulator.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=deployed.outputs.web_bucket)["Contents"]]
    assert keys == ["assets/app-0123abcd.js", "docs/index.html", "index.html"]


def test_a_rotation_gives_a_new_key_and_a_second_one_too_soon_is_refused(deployed: Deployed) -> None:
    rotating = replace(deployed.options, rotate_trainer_key=True)
    iam = deployed.emulator.client("iam")
    deploy(rotating, lambda _: None)
    assert len(iam.list_access_keys(UserName="stcloud-local-trainer")["AccessKeyMetadata"]) == 2
    with pytest.raises(DeployError, match="less than 36 hours ago"):
        deploy(rotating, lambda _: None)
    assert len(iam.list_access_keys(UserName="stcloud-local-trainer")["AccessKeyMetadata"]) == 2


def test_the_program_said_what_it_did_and_no_secret(deployed: Deployed) -> None:
    text = "\n".join(deployed.said)
    assert "Creating the stack stcloud-local" in text
    assert TOKEN not in text
    assert str(deployed.outputs.deploy_token) not in text
    assert str(deployed.outputs.setup_code) not in text + repr(deployed.outputs)


def test_without_a_stack_on_the_other_side_the_message_says_so(build_dir: Path) -> None:
    options = DeployOptions(stage="local", endpoint_url="http://127.0.0.1:9", build_dir=build_dir)
    with pytest.raises(DeployError, match="is it running"):
        deploy(options, lambda _: None)


def test_a_protected_stack_is_not_destroyed_until_the_protection_is_taken_off(deployed: Deployed) -> None:
    assert deploy(replace(deployed.options, deletion_protection=True), lambda _: None).changed
    with pytest.raises(DeployError, match="--no-deletion-protection"):
        destroy(deployed.options, lambda _: None)
    # Nothing was touched.
    assert deployed.page("/")[0] == 200
    assert deployed.api("/cloud/health")[1]["status"] == "healthy"
    assert deploy(deployed.options, lambda _: None).changed


def test_destroying_leaves_nothing_and_may_be_repeated(deployed: Deployed) -> None:
    """Last in the file: it takes the stack away."""
    s3 = deployed.emulator.client("s3")
    s3.put_object(Bucket=deployed.outputs.outputs_bucket, Key="local/j/artifacts/x", Body=b"x")
    assert destroy(deployed.options, lambda _: None) is True
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == []
    assert deployed.emulator.client("dynamodb").list_tables()["TableNames"] == []
    assert deployed.emulator.client("iam").list_users()["Users"] == []
    assert deployed.emulator.client("cognito-idp").list_user_pools(MaxResults=10)["UserPools"] == []
    found = deployed.emulator.client("ssm").get_parameters_by_path(Path="/stcloud/local", Recursive=True)
    assert found["Parameters"] == []
    assert destroy(deployed.options, lambda _: None) is False
