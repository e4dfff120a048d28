"""``stcloud credentials`` against the real API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.domain.credentials import HubSecret, S3Secret, WebhookSecret
from chalicelib.domain.deliveries import GIVE_UP_AFTER, Delivery, Origin
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import HubDestination
from chalicelib.services.credentials import load_secret
from tests.fakes.world import OWNER
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import Cli, Ran

TOKEN, OTHER = "hf_" + "aBcD1234" * 4, "hf_" + "zYxW9876" * 4
KEY_ID, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


def run(cli: Cli, *args: str, interactive: bool = False, answer: str = "") -> Ran:
    """A command that shows no secret, whatever comes of it."""
    ran = cli.run("credentials", *args, interactive=interactive, answer=answer)
    for secret in (TOKEN, OTHER, SECRET_KEY):
        assert secret[8:24] not in ran.out + ran.err
    return ran


def stored(server: CliServer, name: str) -> HubSecret | S3Secret | WebhookSecret:
    credential = server.world.credentials.get(OWNER, name)
    assert credential is not None
    return load_secret(server.world.ports, credential)


def token(server: CliServer, name: str = "hub") -> str:
    secret = stored(server, name)
    assert isinstance(secret, HubSecret)
    return secret.token.get_secret_value()


# --- where the secret comes from ----------------------------------------------------------------------------------
def test_a_token_is_typed_unseen(server: CliServer, cli: Cli) -> None:
    done = run(cli, "add", "hub", "--kind", "huggingface", interactive=True, answer=f"  {TOKEN} \n")
    assert (done.code, done.out.strip()) == (0, "Stored hub.")
    assert token(server) == TOKEN


def test_a_token_comes_by_a_pipe_or_from_a_variable(server: CliServer, cli: Cli) -> None:
    assert run(cli, "add", "hub", "--kind", "huggingface", "--token-stdin", answer=f"{TOKEN}\n").code == 0
    cli.environ["HF_TOKEN"] = OTHER
    assert run(cli, "add", "hub2", "--kind", "huggingface", "--from-env", "HF_TOKEN").code == 0
    assert (token(server), token(server, "hub2")) == (TOKEN, OTHER)


def test_keys_of_s3(server: CliServer, cli: Cli) -> None:
    cli.environ |= {"AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": "t" * 100}
    keys = ("--kind", "s3", "--access-key-id", KEY_ID)
    assert run(cli, "add", "typed", *keys, interactive=True, answer=f"{SECRET_KEY}\n").code == 0
    assert run(cli, "add", "piped", *keys, "--secret-stdin", answer=f"{SECRET_KEY}\n").code == 0
    of_environment = ("--from-env", "AWS_SECRET_ACCESS_KEY", "--session-token-from-env", "AWS_SESSION_TOKEN")
    done = run(cli, "add", "temporary", *keys, *of_environment)
    assert done.code == 0
    assert "ends after hours" in done.err
    for name in ("typed", "piped", "temporary"):
        secret = stored(server, name)
        assert isinstance(secret, S3Secret)
        assert (secret.access_key_id, secret.secret_access_key.get_secret_value()) == (KEY_ID, SECRET_KEY)
    assert isinstance(secret, S3Secret)
    assert secret.session_token is not None


def test_a_signing_secret_is_made_and_goes_to_stdout_alone(server: CliServer, cli: Cli) -> None:
    done = cli.run("credentials", "add", "hook", "--kind", "webhook")
    assert done.code == 0
    made = done.out.strip()
    assert made.startswith("whsec_")
    assert made not in done.err
    assert "shown once" in done.err
    rotated = cli.run("credentials", "rotate", "hook", "--json").json()["secret"]
    secret = stored(server, "hook")
    assert isinstance(secret, WebhookSecret)
    assert [s.get_secret_value() for s in secret.secrets] == [rotated, made]
    own = cli.run("credentials", "add", "own", "--kind", "webhook", "--secret-stdin", answer=f"{made}\n")
    assert (own.code, own.out.strip()) == (0, "Stored own.")
    ended = cli.run("credentials", "rotate", "hook", "--end-previous").out.strip()
    secret = stored(server, "hook")
    assert isinstance(secret, WebhookSecret)
    assert [s.get_secret_value() for s in secret.secrets] == [ended]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--kind", "huggingface"), "--secret-stdin"),
        (("--kind", "huggingface", "--token-stdin"), "Stdin ended"),
        (("--kind", "huggingface", "--from-env", "NOT_SET"), "not set, or empty"),
        (("--kind", "huggingface", "--from-env", TOKEN), "not set, or empty"),
        (("--kind", "huggingface", "--token-stdin", "--from-env", "HF_TOKEN"), "give one"),
        (("--kind", "huggingface", "--access-key-id", KEY_ID, "--token-stdin"), "--kind s3"),
        (("--kind", "s3", "--from-env", "HF_TOKEN"), "--access-key-id"),
        (("--kind", "gitlab"), "gitlab"),
        ((), "--kind"),
    ],
)
def test_what_is_not_said_rightly_is_not_sent(server: CliServer, cli: Cli, args: tuple[str, ...], said: str) -> None:
    cli.environ["HF_TOKEN"] = OTHER
    refused = run(cli, "add", "hub", *args)
    assert refused.code == 2
    assert said in refused.err
    assert server.count("POST") == 0


def test_no_option_takes_a_secret(cli: Cli) -> None:
    for option in ("--token", "--secret", "--secret-access-key", "--session-token"):
        assert run(cli, "add", "hub", "--kind", "huggingface", option, "x").code == 2


def test_secrets_do_not_travel_in_the_open(cli: Cli) -> None:
    far = Cli("http://stack.example", cli.home, [], {"HF_TOKEN": TOKEN})
    for command in (("add", "hub", "--kind", "huggingface", "--from-env", "HF_TOKEN"),):
        refused = run(far, *command)
        assert refused.code == 2
        assert "plain http" in refused.err


# --- the rest -----------------------------------------------------------------------------------------------------
@pytest.fixture
def hub(cli: Cli) -> Cli:
    """A command line that has stored a token as ``hub``."""
    assert run(cli, "add", "hub", "--kind", "huggingface", "--token-stdin", answer=f"{TOKEN}\n").code == 0
    return cli


def test_list_and_show_tell_all_but_the_secret(server: CliServer, cli: Cli) -> None:
    assert "stcloud credentials add" in run(cli, "list").err
    run(cli, "add", "hub", "--kind", "huggingface", "--token-stdin", answer=f"{TOKEN}\n")
    assert run(cli, "list").out.split("\t")[:3] == ["hub", "huggingface", "…1234"]
    assert "never tested" in run(cli, "list").out
    (listed,) = run(cli, "list", "--json").json()["credentials"]
    shown = run(cli, "show", "hub", "--json").json()
    assert {k: v for k, v in shown.items() if k != "used_by"} == listed
    server.world.targets.facts = ("writes as alice",)
    assert run(cli, "test", "hub").code == 0
    text = run(cli, "show", "hub").out
    assert "writes as alice" in text
    assert "passed 20" in text
    assert run(cli, "show", "nosuch").code == 4


def test_a_test_says_what_was_found(server: CliServer, hub: Cli) -> None:
    server.world.targets.facts = ("writes to acme/cats as alice",)
    done = run(hub, "test", "hub", "--to", "huggingface:acme/cats")
    assert (done.code, done.out.splitlines()) == (0, ["hub works.", "  writes to acme/cats as alice"])
    assert server.world.targets.calls[-1] == ("check", "huggingface:acme/cats")


@pytest.mark.parametrize(("retry", "said"), [(False, "hub does not work"), (True, "hub could not be tried now")])
def test_a_test_that_does_not_pass_says_what_to_do(server: CliServer, hub: Cli, retry: bool, said: str) -> None:
    server.world.targets.faults["check"] = [
        DeliveryFault("unauthorized", "It only reads.", "Make another.", retry=retry)
    ]
    failed = run(hub, "test", "hub")
    assert failed.code == 4
    assert failed.out.splitlines() == [f"{said}: It only reads.", "  → Make another."]
    server.world.targets.faults["check"] = [
        DeliveryFault("unauthorized", "It only reads.", "Make another.", retry=retry)
    ]
    failed = run(hub, "test", "hub", "--json")
    assert (failed.code, failed.json()["problem"]["temporary"]) == (4, retry)


def test_keys_and_webhooks_are_tried_at_a_place(server: CliServer, hub: Cli) -> None:
    run(hub, "add", "r2", "--kind", "s3", "--access-key-id", KEY_ID, "--secret-stdin", answer=f"{SECRET_KEY}\n")
    hub.run("credentials", "add", "hook", "--kind", "webhook")
    r2 = ("--endpoint-url", "https://r2.example", "--region", "auto")
    assert run(hub, "test", "r2", "--to", "s3://models/a/b/", *r2).code == 0
    assert run(hub, "test", "hook", "--to", "https://me.example/hook").code == 0
    assert [where for call, where in server.world.targets.calls if call == "check"] == [
        "s3://models/a/b",
        "https://me.example",
    ]
    assert run(hub, "test", "r2").code == 4
    assert run(hub, "test", "hook", "--to", "s3://models").code == 4
    for wrong in (("--to", "models"), ("--to", "huggingface:acme/cats", "--region", "auto")):
        assert run(hub, "test", "hub", *wrong).code == 2


def test_rotating_asks_for_what_its_kind_needs(server: CliServer, hub: Cli) -> None:
    assert run(hub, "rotate", "hub", interactive=True, answer=f"{OTHER}\n").code == 0
    assert token(server) == OTHER
    run(hub, "add", "r2", "--kind", "s3", "--access-key-id", KEY_ID, "--secret-stdin", answer="first-secret\n")
    assert run(hub, "rotate", "r2", "--secret-stdin", answer=f"{SECRET_KEY}\n").code == 0
    secret = stored(server, "r2")
    assert isinstance(secret, S3Secret)
    assert (secret.access_key_id, secret.secret_access_key.get_secret_value()) == (KEY_ID, SECRET_KEY)
    assert run(hub, "rotate", "hub", "--access-key-id", KEY_ID, "--token-stdin", answer="x\n").code == 2
    assert run(hub, "rotate", "nosuch", "--token-stdin", answer="x\n").code == 4


def test_deleting_asks_and_what_is_in_use_needs_force(server: CliServer, hub: Cli) -> None:
    assert run(hub, "delete", "hub").code == 2
    assert run(hub, "delete", "hub", interactive=True, answer="n\n").code == 130
    now = server.world.clock.now()
    server.world.ports.deliveries.create(
        Delivery(
            delivery_id="d-job1-001",
            job_id="job1",
            owner=OWNER,
            destination=HubDestination(repo_id="acme/cats"),
            origin=Origin.REQUEST,
            created_at=now,
            updated_at=now,
            give_up_at=now + GIVE_UP_AFTER,
        )
    )
    refused = run(hub, "delete", "hub", "--yes")
    assert refused.code == 4
    assert "the delivery d-job1-001 to huggingface:acme/cats" in refused.err
    assert "--force" in refused.err
    assert "d-job1-001" in run(hub, "show", "hub").out
    done = run(hub, "delete", "hub", "--yes", "--force")
    assert (done.code, done.out.strip()) == (0, "Deleted hub.")
    assert "fails now" in done.err
    assert server.world.credential_secrets.stored == {}


def test_what_may_have_been_stored_is_not_sent_again(server: CliServer, hub: Cli) -> None:
    server.faults.append(Fault("POST /api/cloud/credentials$", drop=True, after=True))
    lost = run(hub, "add", "late", "--kind", "huggingface", "--token-stdin", answer=f"{TOKEN}\n")
    assert lost.code == 5
    assert "stcloud credentials list" in lost.err
    assert server.count("POST /api/cloud/credentials$") == 2
    server.faults.append(Fault("PUT /api/cloud/credentials", drop=True, after=True))
    lost = run(hub, "rotate", "hub", "--token-stdin", answer=f"{OTHER}\n")
    assert lost.code == 5
    assert "stcloud credentials show hub" in lost.err
    assert token(server) == OTHER


def test_a_name_that_is_taken_says_what_to_do(hub: Cli) -> None:
    taken = run(hub, "add", "hub", "--kind", "huggingface", "--token-stdin", answer=f"{TOKEN}\n")
    assert taken.code == 4
    assert "stcloud credentials rotate hub" in taken.err
