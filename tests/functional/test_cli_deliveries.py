"""``stcloud jobs deliver``, ``deliveries`` and ``watch`` against the real API: a model that is sent on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from chalicelib.domain.delivery_ports import DeliveryFault
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import Cli, config_files, picture_folder
from tests.support.deliveries import completed_job, with_credentials

DENIED = DeliveryFault("forbidden", "The token may not write to acme/cats.", "Give it the right to write.", retry=False)
SLOW = DeliveryFault("throttled", "The Hub asks to wait.", "Wait.", retry=True, retry_after=timedelta(minutes=20))
HUB, BUCKET = "huggingface:acme/cats", "s3://models/cats"


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        with_credentials(running.world)
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [], environ={"PYTHONPATH": ""})


@pytest.fixture
def config(cli: Cli, tmp_path: Path) -> Path:
    folder = picture_folder(tmp_path)
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    return config_files(tmp_path, folder)


def test_a_training_is_watched_until_its_model_has_arrived(server: CliServer, cli: Cli, config: Path) -> None:
    server.world.targets.faults["send"] = [SLOW]
    done = cli.run("jobs", "submit", str(config), "--to", HUB, "--to", BUCKET, "--watch")
    assert done.code == 0, done.err
    assert "Completed" in done.err
    assert f"{HUB}: verified" in done.err
    assert f"{BUCKET}: verified" in done.err
    assert "The Hub asks to wait. Tried again at" in done.err
    assert set(server.world.targets.places) == {HUB, BUCKET}
    shown = cli.run("jobs", "get", done.out.strip()).out
    assert f"goes to    {HUB}" in shown
    assert "delivered  2 verified, 0 open, 0 failed" in shown


def test_a_delivery_that_failed_ends_the_watch_with_six(server: CliServer, cli: Cli, config: Path) -> None:
    server.world.targets.faults["send"] = [DENIED]
    done = cli.run("jobs", "submit", str(config), "--to", HUB, "--watch")
    assert done.code == 6
    job_id = done.out.strip()
    assert "Delivery to huggingface:acme/cats failed: The token may not write to acme/cats." in done.err
    assert f"stcloud jobs deliver {job_id} --retry d-{job_id}-001" in done.err
    watched = cli.run("jobs", "watch", job_id, "--download", "--json")
    assert watched.code == 6, watched.err
    assert [line["type"] for line in watched.lines()][-2:] == ["delivery", "downloaded"]
    again = cli.run("jobs", "deliver", job_id, "--retry", f"d-{job_id}-001", "--wait")
    assert (again.code, again.out.strip()) == (0, f"d-{job_id}-002")
    assert cli.run("jobs", "watch", job_id).code == 0


def test_nowhere(server: CliServer, cli: Cli, config: Path) -> None:
    done = cli.run("jobs", "submit", str(config), "--to", "none", "--watch")
    assert done.code == 0
    assert server.world.targets.calls == []


def test_a_model_is_delivered_later(server: CliServer, cli: Cli) -> None:
    completed_job(server.world)
    asked = cli.run("jobs", "deliver", "job1", "--to", HUB, "--include", "weights", "--public")
    assert (asked.code, asked.out.strip()) == (0, "d-job1-001")
    assert "stcloud jobs deliveries job1" in asked.err
    twice = cli.run("jobs", "deliver", "job1", "--to", HUB, "--json").json()
    assert (twice["made"], twice["deliveries"][0]["destination"]["private"]) == (0, False)
    bucket = ("--endpoint-url", "https://s3.example.com", "--region", "eu-1", "--credential", "s3")
    more = cli.run("jobs", "deliver", "job1", "--to", BUCKET, *bucket, "--json").json()
    to = more["deliveries"][0]["destination"]
    assert (to["endpoint_url"], to["region"], to["credential"]) == ("https://s3.example.com", "eu-1", "s3")
    hook = cli.run("jobs", "deliver", "job1", "--webhook", "https://hooks.example.com/x?key=secret", "--wait", "--json")
    assert hook.code == 0
    assert "secret" not in hook.out + hook.err
    assert [line["type"] for line in hook.lines()] == ["delivering", *["delivery"] * (len(hook.lines()) - 1)]
    table = cli.run("jobs", "deliveries", "job1", "--wait")
    assert table.code == 0
    listed = cli.run("jobs", "deliveries", "job1").out
    assert [line.split()[0] for line in listed.splitlines()] == [
        "escrow",
        "d-job1-001",
        "d-job1-002",
        "d-job1-003",
    ]
    assert listed.count("verified") == 4


def test_deliveries_are_cancelled(server: CliServer, cli: Cli) -> None:
    completed_job(server.world)
    server.world.targets.faults["send"] = [SLOW, SLOW]
    cli.run("jobs", "deliver", "job1", "--to", HUB)
    cli.run("jobs", "deliver", "job1", "--to", BUCKET)
    refused = cli.run("jobs", "delete", "job1", "--yes")
    assert refused.code == 4
    assert "--cancel all" in refused.err
    assert cli.run("jobs", "deliveries", "job1", "--cancel", "all").code == 0
    states = [d["state"] for d in cli.run("jobs", "deliveries", "job1", "--json").json()["deliveries"]]
    assert states == ["verified", "cancelled", "cancelled"]
    assert cli.run("jobs", "delete", "job1", "--yes").code == 0


def test_a_server_that_restarts_does_not_end_the_wait(server: CliServer, cli: Cli) -> None:
    completed_job(server.world)
    server.faults.append(Fault("GET /api/cloud/jobs/job1/deliveries", times=9, status=503))
    done = cli.run("jobs", "deliver", "job1", "--to", HUB, "--wait")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Say where to"),
        (("--to", "ftp://x"), "is no destination"),
        (("--to", "huggingface:"), "is no destination"),
        (("--to", HUB, "--region", "eu-1"), "go with s3://"),
        (("--to", BUCKET, "--public"), "goes with huggingface"),
        (("--to", HUB, "--include", "everything"), "can't be included"),
        (("--retry", "d-job1-001", "--to", HUB), "--retry goes alone"),
    ],
)
def test_what_is_no_place_is_said_before_anything_is_asked(
    server: CliServer, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    refused = cli.run("jobs", "deliver", "job1", *arguments)
    assert refused.code == 2
    assert said in refused.err
    assert server.requests == []


def test_a_missing_credential_is_said_with_the_command(cli: Cli, server: CliServer) -> None:
    completed_job(server.world)
    refused = cli.run("jobs", "deliver", "job1", "--to", HUB, "--credential", "other")
    assert refused.code == 4
    assert "stcloud credentials add other --kind huggingface" in refused.err
