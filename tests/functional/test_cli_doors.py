"""``stcloud login``, ``keys``, ``users``, ``audit`` and ``profiles`` against the real API with its doors closed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from chalicelib.domain.access_ports import SignInError
from chalicelib.domain.permissions import Role
from chalicelib.settings import AuthMode
from tests.functional.cli_doors import CACHED_SECONDS, NEW, PASSWORD, ada, cli, other_computer, server, typing
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import Cli

__all__ = ["ada", "cli", "server"]

ACCESS_LIFE = 15 * 60 + 1


def files(cli: Cli) -> dict[str, Path]:
    return {p.name: p for p in (cli.home / ".config" / "stcloud").rglob("*") if p.is_file()}


def test_setup_ends_local_mode_and_signs_in(server: CliServer, cli: Cli, ada: Cli) -> None:
    me = ada.run("whoami", "--json").json()
    assert (me["username"], me["role"], me["kind"], me["profile"]) == ("ada", "admin", "session", "local")
    stranger = other_computer(cli, "stranger").run("jobs", "list", "--json")
    assert stranger.code == 4
    assert stranger.json()["error"]["code"] == "unauthenticated"
    assert "stcloud login" in stranger.err
    again = typing(ada, "setup", answers=[])
    assert again.code == 2
    assert "stcloud login" in again.err


def test_signing_in_before_there_is_anybody_says_what_to_do(cli: Cli) -> None:
    refused = typing(cli, "login", "--username", "ada", answers=[PASSWORD])
    assert refused.code == 4
    assert "stcloud setup" in refused.err


def test_secrets_lie_in_files_that_only_their_owner_can_read(ada: Cli) -> None:
    kept = files(ada)
    assert set(kept) == {"config.toml", "local.json"}
    for path in kept.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    credential = json.loads(kept["local.json"].read_text())
    assert credential["server"] == ada.url
    assert credential["token"] not in kept["config.toml"].read_text()
    assert credential["refresh"] not in kept["config.toml"].read_text()


def test_a_token_file_that_others_can_read_is_not_used(ada: Cli) -> None:
    files(ada)["local.json"].chmod(0o644)
    refused = ada.run("whoami", "--json")
    assert refused.code == 1
    assert refused.json()["error"]["code"] == "file_not_private"
    assert "chmod 600" in refused.err
    assert typing(ada, "login", answers=[PASSWORD]).code == 0
    assert ada.run("whoami").code == 0


def test_wrong_passwords_and_unknown_names_are_refused_alike(ada: Cli) -> None:
    texts = {typing(ada, "login", "--username", name, answers=["nope"]).err for name in ("ada", "nobody")}
    without_names = {text.split("request id")[0] for text in texts}
    assert len(without_names) == 1
    assert "An admin can invite you" in without_names.pop()


def test_a_session_renews_itself_when_its_token_has_ended(server: CliServer, ada: Cli) -> None:
    before = json.loads(files(ada)["local.json"].read_text())
    server.world.clock.advance(ACCESS_LIFE)
    assert ada.run("jobs", "list").code == 0
    assert server.count("POST /api/auth/refresh") == 1
    after = json.loads(files(ada)["local.json"].read_text())
    assert after["token"] != before["token"]
    assert after["refresh"] == before["refresh"]
    assert ada.run("jobs", "list").code == 0
    assert server.count("POST /api/auth/refresh") == 1


def test_a_session_that_has_ended_asks_once_and_says_to_sign_in(server: CliServer, ada: Cli) -> None:
    server.world.pool.sign_out_everywhere("ada")
    server.world.clock.advance(ACCESS_LIFE)
    refused = ada.run("jobs", "list", "--json")
    assert refused.code == 4
    assert refused.json()["error"]["code"] == "session_ended"
    assert "stcloud login --profile local" in refused.err
    assert server.count("POST /api/auth/refresh") == 1
    assert server.count("GET /api/cloud/jobs") == 1


def test_an_invited_person_chooses_a_password_and_can_do_little(server: CliServer, ada: Cli) -> None:
    invited = ada.run("users", "invite", "rita", "rita@example.com", "--role", "researcher", "--json").json()
    temporary = invited["temporary_password"]
    rita = other_computer(ada, "rita")
    done = typing(rita, "login", answers=["rita", temporary, "short", "short", NEW, NEW])
    assert done.code == 0, done.err
    assert "temporary" in done.err
    assert "at least" in done.err
    assert temporary not in done.out + done.err
    assert rita.run("whoami", "--json").json()["id"] == invited["id"]
    refused = rita.run("users", "invite", "otto", "otto@example.com", "--json")
    assert refused.code == 4
    assert refused.json()["error"]["status"] == 403
    listed = ada.run("users", "list").out.splitlines()
    assert [line.split("\t")[:3] for line in listed] == [["ada", "admin", "active"], ["rita", "researcher", "active"]]


def test_a_second_factor_is_asked_for(server: CliServer, ada: Cli) -> None:
    server.world.pool.require_totp("ada", "123456")
    assert typing(ada, "login", answers=[PASSWORD, "000 000"]).code == 4
    done = typing(ada, "login", answers=[PASSWORD, "123 456"])
    assert done.code == 0
    assert "authenticator" in done.err
    assert "123456" not in done.out + done.err


def test_without_a_terminal_nobody_is_asked(server: CliServer, ada: Cli) -> None:
    refused = ada.run("login", "--username", "ada", answer=f"{PASSWORD}\n")
    assert refused.code == 2
    assert "--with-key" in refused.err
    assert server.count("POST /api/auth/login") == 1  # that of setup


def test_a_throttled_sign_in_is_tried_again_and_a_limit_is_not(server: CliServer, ada: Cli) -> None:
    server.faults.append(Fault("POST /api/auth/login", status=429))
    before = server.count("POST /api/auth/login")
    assert typing(ada, "login", answers=[PASSWORD]).code == 0
    assert server.count("POST /api/auth/login") == before + 2
    for attempt in range(1, 50):
        refused = typing(ada, "login", "--username", "otto", answers=["nope"])
        assert server.count("POST /api/auth/login") == before + 2 + attempt
        if "Wait" in refused.err:
            break
    assert "Wait" in refused.err
    assert refused.code == 4


def test_a_changed_password_leaves_this_computer_signed_in(ada: Cli) -> None:
    wrong = typing(ada, "password", answers=["nope", NEW, NEW])
    assert wrong.code == 4
    assert "not right" in wrong.err
    done = typing(ada, "password", answers=[PASSWORD, NEW, NEW])
    assert done.code == 0, done.err
    assert ada.run("whoami").code == 0
    assert typing(ada, "login", answers=[PASSWORD]).code == 4
    assert typing(ada, "login", answers=[NEW]).code == 0


def test_signing_out_ends_the_session_there_and_forgets_it_here(server: CliServer, ada: Cli) -> None:
    refresh = json.loads(files(ada)["local.json"].read_text())["refresh"]
    done = ada.run("logout", "--json").json()
    assert done == {"signed_out": True, "profile": "local"}
    assert set(files(ada)) == {"config.toml"}
    assert "signed out" in ada.run("profiles", "list").out
    with pytest.raises(SignInError):
        server.world.pool.refresh(refresh)
    assert ada.run("whoami").code == 4
    assert ada.run("logout", "--json").json() == {"signed_out": False}


def test_signing_out_everywhere_works_with_a_token_that_has_ended(server: CliServer, ada: Cli) -> None:
    laptop = other_computer(ada, "laptop")
    assert typing(laptop, "login", answers=["ada", PASSWORD]).code == 0
    server.world.clock.advance(ACCESS_LIFE)
    assert ada.run("logout", "--everywhere").code == 0
    assert laptop.run("whoami").code == 4


def test_signing_out_of_a_server_that_is_away_still_forgets(ada: Cli, server: CliServer) -> None:
    server.faults.append(Fault("POST /api/auth/logout", drop=True, times=9))
    done = ada.run("logout")
    assert done.code == 0
    assert "30 days" in done.err
    assert set(files(ada)) == {"config.toml"}


def test_a_key_is_printed_once_and_works(ada: Cli) -> None:
    made = ada.run(
        *("keys", "create", "ci", "--scope", "job.submit", "--scope", "job.view.own", "--expires-days", "30"),
        *("--budget", "12.50", "--provider", "replicate"),
    )
    assert made.code == 0, made.err
    key = made.out.strip()
    assert key.startswith("stk_")
    assert "shown once" in made.err
    assert key not in made.err
    listed = ada.run("keys", "list", "--json")
    assert key not in listed.out
    info = listed.json()["keys"][0]
    assert (info["name"], info["budget_usd"], info["providers"]) == ("ci", 12.5, ["replicate"])
    assert "$0.00 of $12.50" in ada.run("keys", "get", info["id"]).out
    machine = Cli(ada.url, ada.home.parent / "machine", [], {"STCLOUD_TOKEN": key})
    me = machine.run("whoami", "--json").json()
    assert (me["kind"], me["key_id"]) == ("key", info["id"])
    assert machine.run("jobs", "list").code == 0
    assert machine.run("users", "list").code == 4


def test_keys_are_rotated_and_revoked(server: CliServer, ada: Cli) -> None:
    old = ada.run("keys", "create", "ci").out.strip()
    key_id = ada.run("keys", "list").out.split("\t")[0]
    new = ada.run("keys", "rotate", key_id, "--overlap", "1h").out.strip()
    assert new != old

    def code(key: str) -> int:
        return Cli(ada.url, ada.home.parent / "machine", [], {"STCLOUD_TOKEN": key}).run("jobs", "list").code

    assert (code(old), code(new)) == (0, 0)
    server.world.clock.advance(3600 + CACHED_SECONDS)
    assert (code(old), code(new)) == (4, 0)
    new_id = ada.run("keys", "list").out.split("\t")[0]
    assert ada.run("keys", "revoke", new_id).code == 2
    assert code(new) == 0
    assert typing(ada, "keys", "revoke", new_id, answers=["y"]).code == 0
    server.world.clock.advance(CACHED_SECONDS)
    assert code(new) == 4
    assert ada.run("keys", "list").out == ""
    assert len(ada.run("keys", "list", "--all", "--json").json()["keys"]) == 2


def test_a_key_whose_answer_was_lost_is_not_made_twice(server: CliServer, ada: Cli) -> None:
    server.faults.append(Fault("POST /api/auth/api-keys", drop=True, after=True))
    lost = ada.run("keys", "create", "ci")
    assert lost.code == 5
    assert "stcloud keys list" in lost.err
    assert len(ada.run("keys", "list", "--json").json()["keys"]) == 1


def test_a_machine_signs_in_with_a_key_from_a_pipe(ada: Cli) -> None:
    key = ada.run("keys", "create", "ci").out.strip()
    machine = other_computer(ada, "machine")
    done = machine.run("login", "--with-key", "--profile", "build", answer=f"{key}\n")
    assert done.code == 0, done.err
    assert key not in done.out + done.err
    assert machine.run("whoami", "--json").json()["kind"] == "key"
    out = machine.run("logout")
    assert "stcloud keys revoke" in out.err
    assert machine.run("whoami").code == 4
    assert Cli(ada.url, ada.home, [], {"STCLOUD_TOKEN": key}).run("whoami", "--json").json()["kind"] == "key"
    assert ada.run("whoami", "--token", key).code == 2
    for typed in ("", "eyJ.no.key", "stk_" + "x" * 60):
        refused = machine.run("login", "--with-key", answer=f"{typed}\n")
        assert refused.code in {2, 4}
        assert not typed or typed not in refused.out + refused.err
    assert machine.run("login", "--with-key", "--username", "x", answer=f"{key}\n").code == 2


def test_people_are_managed_by_name(server: CliServer, ada: Cli) -> None:
    typed = typing(ada, "users", "invite", "otto", "otto@example.com", "--ask-password", answers=[NEW, NEW])
    assert typed.code == 0, typed.err
    otto = other_computer(ada, "otto")
    assert typing(otto, "login", answers=["otto", NEW, NEW, NEW]).code == 0
    assert ada.run("users", "role", "otto@example.com", "viewer", "--json").json()["role"] == "viewer"
    assert ada.run("users", "role", "otto", "king").code == 2
    assert ada.run("users", "role", "nobody", "viewer").code == 2
    assert ada.run("users", "deactivate", "OTTO", "--yes").code == 0
    assert typing(otto, "login", answers=[NEW]).code == 4
    assert ada.run("users", "activate", "otto").code == 0
    assert typing(otto, "login", answers=[NEW]).code == 0
    assert ada.run("users", "delete", "otto", "--yes").code == 0
    last = ada.run("users", "role", "ada", "viewer", "--json")
    assert last.code == 4
    assert "admin" in last.json()["error"]["message"]


def test_the_audit_is_listed_and_verified(server: CliServer, ada: Cli) -> None:
    typing(ada, "login", "--username", "mallory", answers=["nope"])
    ada.run("keys", "create", "ci")
    found = ada.run("audit", "list", "--json").json()["entries"]
    assert {"sign.in", "key.create"} <= {e["event_type"] for e in found}
    denied = ada.run("audit", "list", "--result", "denied", "--json").json()["entries"]
    assert [(e["event_type"], e["code"]) for e in denied] == [("sign.in", "invalid_credentials")]
    one = ada.run("audit", "list", "-n", "1").out.splitlines()
    assert len(one) == 1
    assert ada.run("audit", "list", "--since", "1h", "--actor", "ada", "-n", "3").code == 0
    assert ada.run("audit", "list", "--until", "yesterday").code == 2
    server.world.clock.advance(300)
    assert server.world.services.audit.seal() > 0
    assert ada.run("audit", "verify").out.startswith("Whole: ")
    server.world.audit.remove(server.world.audit.records[0])
    broken = ada.run("audit", "verify", "--json")
    assert broken.code == 4
    assert broken.json()["valid"] is False


def test_profiles_keep_servers_apart(server: CliServer, ada: Cli, tmp_path: Path) -> None:
    with cli_server(mode=AuthMode.TOKEN) as other:
        other.world.secrets.setup_code = "setup_" + "A" * 32
        for number in range(20):  # so that its tokens are others than those of the first server
            other.world.pool.create(f"user-{number}", f"{number}@example.com", password=PASSWORD, role=Role.VIEWER)
        both = Cli("", ada.home, [])
        answers = ["bob", "bob@example.com", "setup_" + "A" * 32, PASSWORD, PASSWORD]
        done = typing(both, "setup", "--url", other.url, "--profile", "second", answers=answers)
        assert done.code == 0, done.err
        assert both.run("whoami", "--json").json()["username"] == "bob"
        assert both.run("whoami", "--profile", "local", "--json").json()["username"] == "ada"
        assert both.run("--profile", "local", "whoami", "--json").json()["username"] == "ada"
        assert both.run("whoami", "--url", server.url, "--json").json()["username"] == "ada"
        assert both.run("profiles", "use", "local").code == 0
        assert both.run("whoami", "--json").json()["username"] == "ada"
        by_environment = Cli("", ada.home, [], {"STCLOUD_PROFILE": "second"})
        assert by_environment.run("whoami", "--json").json()["username"] == "bob"
        assert [line.split("\t")[:2] for line in both.run("profiles", "list").out.splitlines()] == [
            ["*", "local"],
            ["", "second"],
        ]
        tokens = [json.loads(files(ada)[f"{name}.json"].read_text())["token"] for name in ("local", "second")]
        assert len(set(tokens)) == 2
        for place, foreign in ((server, tokens[1]), (other, tokens[0])):
            assert not [h for h in place.request_headers if h.get("authorization") == f"Bearer {foreign}"]
        assert both.run("profiles", "remove", "second").code == 2
        assert both.run("logout", "--profile", "second").code == 0
        assert both.run("profiles", "remove", "second").code == 0
        assert both.run("whoami", "--profile", "second").code == 2


def test_a_profile_whose_address_was_edited_takes_no_token_along(server: CliServer, ada: Cli) -> None:
    with cli_server(mode=AuthMode.LOCAL) as elsewhere:
        config = files(ada)["config.toml"]
        config.write_text(config.read_text().replace(server.url, elsewhere.url))
        assert Cli("", ada.home, []).run("whoami", "--json").json()["kind"] == "local"
        assert elsewhere.requests
        assert not [h for h in elsewhere.request_headers if "authorization" in h]


def test_a_redirect_takes_no_token_along(server: CliServer, ada: Cli) -> None:
    with cli_server(mode=AuthMode.LOCAL) as elsewhere:
        server.faults.append(
            Fault("GET /api/auth/me", status=302, headers={"Location": f"{elsewhere.url}/api/auth/me"})
        )
        assert ada.run("whoami").code == 4
        assert elsewhere.requests == []
