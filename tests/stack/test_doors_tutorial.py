"""The tutorial's lines about API keys, run as printed against a stack with people: bash and curl, character for
character. Filled in is what the tutorial asks its reader to fill in: the token, the key, the body, the provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.closed_stack import ClosedStack
from tests.support.stack import eventually
from tests.support.trainings import training_config

PRINTED = Path(__file__).parent / "tutorial"
ADDRESS = "http://localhost:8001"
DATASET = "tutorial-keys"


def printed(team: ClosedStack, name: str, filled: dict[str, str]) -> Any:
    """The JSON that the tutorial's script ``name`` prints."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.fail("The tutorial needs curl, which is not on PATH. Install it (apt-get install curl) and run again.")
    script = (PRINTED / f"{name}.sh").read_text(encoding="utf-8")
    for placeholder, text in {ADDRESS: team.stack.url, "PROVIDER": "replicate", **filled}.items():
        script = script.replace(placeholder, text)
    kept = {k: v for k, v in os.environ.items() if k in {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR"}}
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env={**kept, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (name, done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(team: ClosedStack) -> dict[str, Any]:
    """What the line that creates a key answers."""
    return dict(printed(team, "create_key", {"YOUR_SESSION_TOKEN": team["rita"].access_token}))


def submitted(team: ClosedStack, key: str) -> dict[str, Any]:
    body = {"config_name_to_load": "keys-config", "tracker_run_name": "by-key"}
    return dict(printed(team, "use_key", {"stk_abc123...": key, "{...}": json.dumps(body)}))


def test_a_key_is_created_as_printed(made: dict[str, Any]) -> None:
    info = made["key_info"]
    assert re.fullmatch(r"stk_[a-z2-7]{13}[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", made["key"])
    assert made["key"].startswith(info["key_prefix"])
    assert (info["name"], info["is_active"]) == ("ci-pipeline", True)
    assert info["scoped_permissions"] == ["job.submit", "job.view.own"]


def test_the_key_is_used_as_printed_and_can_do_no_more(team: ClosedStack, made: dict[str, Any]) -> None:
    rita, key = team["rita"], made["key"]
    rita.push(DATASET)
    loader = [{"id": DATASET, "type": "local", "instance_data_dir": "/data/x", "caption_strategy": "textfile",
               "resolution": 64, "resolution_type": "pixel"}]  # fmt: skip
    rita.ok("PUT", "/configs/keys-config", json={"config": training_config(6), "dataloader_config": loader})
    answer = submitted(team, key)
    assert answer["success"] is True, answer
    job_id = answer["job_id"]
    machine = team.caller(Authorization=f"Bearer {key}")
    job = machine.wait(job_id, "completed", seconds=120)
    assert (job["user_id"], job["run_name"]) == (rita.user_id, "by-key")
    for method, path in (
        ("DELETE", f"/cloud/jobs/{job_id}"),
        ("POST", f"/cloud/jobs/{job_id}/cancel"),
        ("GET", "/configs"),
        ("GET", "/cloud/auth/api-keys"),
        ("GET", "/users"),
    ):
        refused = machine.api(method, path)
        assert (refused.status, refused.json["code"]) == (403, "permission_denied"), path
    assert rita.job(job_id)["status"] == "completed"


def test_a_key_that_may_only_look_cannot_submit(team: ClosedStack) -> None:
    key = team.make_key("rita", scoped_permissions=["job.view.own"])["key"]
    assert team.caller(Authorization=f"Bearer {key}").api("GET", "/cloud/jobs").status == 200
    refused = submitted(team, key)
    assert (refused["success"], refused["code"]) == (False, "permission_denied")


def test_a_revoked_key_is_refused_within_seconds(team: ClosedStack, made: dict[str, Any]) -> None:
    machine = team.caller(x_api_key=made["key"])
    assert machine.api("GET", "/cloud/jobs").status == 200
    team["rita"].ok("DELETE", f"/cloud/auth/api-keys/{made['key_info']['id']}")
    eventually(lambda: machine.api("GET", "/cloud/jobs").status == 401, seconds=8)
    assert submitted(team, made["key"])["status"] == 401
