"""``stcloud users invite`` and ``reset`` where nobody mails, and what an admin sees of others."""

from __future__ import annotations

import json

from chalicelib.domain.permissions import Role
from tests.functional.cli_doors import NEW, PASSWORD, ada, cli, other_computer, server, typing
from tests.functional.cli_server import CliServer
from tests.functional.cli_tools import CONFIG, Cli

__all__ = ["ada", "cli", "server"]


def test_an_invited_person_gets_in_where_nobody_mails(ada: Cli) -> None:
    invited = ada.run("users", "invite", "rita", "rita@example.com")
    temporary = invited.out.strip()
    assert (invited.code, temporary[:6]) == (0, "Temp1-")
    assert "shown once" in invited.err
    assert f"stcloud login --url {ada.url} --username rita" in invited.err
    assert "mail" not in invited.err
    rita = other_computer(ada, "rita")
    entered = typing(rita, "login", "--username", "rita", answers=[temporary, NEW, NEW])
    assert entered.code == 0, entered.err
    assert rita.run("whoami", "--json").json()["role"] == "researcher"
    assert typing(other_computer(ada, "x"), "login", "--username", "rita", answers=[temporary]).code == 4


def test_a_reset_password_is_shown_once_and_the_person_chooses_another(server: CliServer, ada: Cli) -> None:
    server.world.pool.create("rita", "rita@example.com", password=PASSWORD, role=Role.RESEARCHER)
    rita = other_computer(ada, "rita")
    assert typing(rita, "login", "--username", "rita", answers=[PASSWORD]).code == 0
    assert ada.run("users", "reset", "rita").code == 2
    done = ada.run("users", "reset", "rita", "--yes")
    assert done.code == 0, done.err
    assert typing(rita, "login", "--username", "rita", answers=[PASSWORD]).code == 4
    assert typing(rita, "login", "--username", "rita", answers=[done.out.strip(), NEW, NEW]).code == 0
    assert ada.run("users", "reset", "ada", "--yes").code == 4


def test_a_password_that_an_admin_chose_is_temporary(ada: Cli) -> None:
    args = ("users", "invite", "rita", "rita@example.com", "--ask-password")
    assert typing(ada, *args, answers=[NEW, NEW]).code == 0
    rita = other_computer(ada, "rita")
    assert typing(rita, "login", "--username", "rita", answers=[NEW, PASSWORD, PASSWORD]).code == 0


def test_an_admins_list_of_jobs_says_whose_they_are(server: CliServer, ada: Cli) -> None:
    server.world.pool.create("rita", "rita@example.com", password=PASSWORD, role=Role.RESEARCHER)
    rita = other_computer(ada, "rita")
    assert typing(rita, "login", "--username", "rita", answers=[PASSWORD]).code == 0
    config = ada.home.parent / "config.json"
    config.write_text(json.dumps(CONFIG))
    backend = ada.home.parent / "backend.json"
    backend.write_text(json.dumps([{"id": "p", "type": "huggingface", "dataset_name": "owner/p"}]))
    submit = ("jobs", "submit", str(config), "--dataloader", str(backend))
    for who in (ada, rita):
        done = who.run(*submit)
        assert done.code == 0, done.err
    assert [line.split("\t")[-1] for line in ada.run("jobs", "list").out.splitlines()] == ["rita", "ada"]
    assert "rita" not in rita.run("jobs", "list").out


def test_a_wrong_scope_is_told_with_those_that_are_good(ada: Cli) -> None:
    refused = ada.run("keys", "create", "ci", "--scope", "job.submitt", "--scope", "job.view.own")
    assert refused.code == 4
    assert "is no permission. A key of yours may have: audit.view," in refused.err
    assert "Did you mean job.submit?" in refused.err
