"""The command line signs in to the deployed stack: sessions of its user pool, renewal, keys, a temporary password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.cli_tools import Cli, Ran
from tests.support.closed_stack import PASSWORD, ClosedStack

TEMPORARY = "Temporary-Horse-5-Battery"


@pytest.fixture
def cli(team: ClosedStack, tmp_path: Path) -> Cli:
    return Cli(team.stack.url, tmp_path / "home", [])


def typing(cli: Cli, *args: str, answers: list[str]) -> Ran:
    return cli.run(*args, interactive=True, answer="".join(f"{text}\n" for text in answers))


def test_a_researcher_signs_in_makes_a_key_and_signs_out(team: ClosedStack, cli: Cli, tmp_path: Path) -> None:
    assert cli.run("jobs", "list").code == 4
    done = typing(cli, "login", answers=["rita", PASSWORD])
    assert done.code == 0, done.err
    assert cli.run("whoami", "--json").json()["id"] == team["rita"].user_id
    made = cli.run("keys", "create", "from-cli", "--scope", "job.view.own", "--budget", "2.50")
    assert made.code == 0, made.err
    machine = Cli(cli.url, tmp_path / "machine", [], {"STCLOUD_TOKEN": made.out.strip()})
    assert machine.run("jobs", "list").code == 0
    assert machine.run("configs", "list").code == 4
    key_id = next(k["id"] for k in cli.run("keys", "list", "--json").json()["keys"] if k["name"] == "from-cli")
    assert cli.run("keys", "revoke", key_id, "--yes").code == 0
    assert cli.run("users", "list").code == 4
    assert cli.run("logout").code == 0
    assert cli.run("whoami").code == 4


def test_a_session_whose_token_is_refused_is_renewed(cli: Cli) -> None:
    assert typing(cli, "login", answers=["otto", PASSWORD]).code == 0
    path = cli.home / ".config/stcloud/credentials/local.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "token": kept["token"][:-8] + "AAAAAAAA"}))
    assert cli.run("whoami", "--json").json()["username"] == "otto"
    assert json.loads(path.read_text())["token"] not in {kept["token"], kept["token"][:-8] + "AAAAAAAA"}


def test_a_temporary_password_is_replaced_at_the_first_sign_in(team: ClosedStack, cli: Cli) -> None:
    """The mail of an invitation can't be read here, so the pool is told a temporary password."""
    team["ada"].ok("POST", "/users", json={"username": "temp", "email": "temp@example.com"})
    pool = team.stack.client("cognito-idp")
    (found,) = (p for p in pool.list_user_pools(MaxResults=10)["UserPools"])
    pool.admin_set_user_password(UserPoolId=found["Id"], Username="temp", Password=TEMPORARY, Permanent=False)
    done = typing(cli, "login", answers=["temp", TEMPORARY, "short", "short", PASSWORD, PASSWORD])
    assert done.code == 0, done.err
    assert not [secret for secret in (TEMPORARY, PASSWORD) if secret in done.out + done.err]
    assert typing(cli, "login", answers=[TEMPORARY]).code == 4
    assert typing(cli, "login", answers=[PASSWORD]).code == 0


def test_an_admin_reads_and_verifies_the_audit(team: ClosedStack, cli: Cli) -> None:
    assert typing(cli, "login", answers=["ada", PASSWORD]).code == 0
    team.stack.sweep()
    listed = cli.run("audit", "list", "--action", "sign.in", "-n", "5", "--json").json()["entries"]
    assert listed[0]["event_type"] == "sign.in"
    verified = cli.run("audit", "verify", "--json")
    assert (verified.code, verified.json()["valid"]) == (0, True)
