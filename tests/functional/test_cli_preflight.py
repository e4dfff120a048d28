"""``stcloud jobs preflight`` and ``--accept-warnings`` against the real API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.cli_server import CliServer, cli_server
from tests.functional.cli_tools import Cli, config_files, picture_folder


@pytest.fixture
def server() -> Iterator[CliServer]:
    """A server whose inspections are still under way."""
    with cli_server() as running:
        running.world.dataset_runner.when_inspecting = None
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


@pytest.fixture
def config(cli: Cli, tmp_path: Path) -> Path:
    """A config whose dataset is pushed."""
    folder = picture_folder(tmp_path)
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    return config_files(tmp_path, folder)


def changed(config: Path, **options: Any) -> Path:
    config.write_text(json.dumps(json.loads(config.read_text()) | options))
    return config


def test_a_training_that_can_be_submitted(server: CliServer, cli: Cli, config: Path) -> None:
    done = cli.run("jobs", "preflight", str(config))
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith("Ready")
    assert "Estimate (a rule of thumb" in done.out
    assert "not yet: datasets: 1 of 1 datasets is still being inspected." in done.out
    assert not server.world.jobs.slot_holders("local")
    answer = cli.run("jobs", "preflight", str(config), "--json").json()
    assert answer["ok"] is True


def test_errors_come_first_each_with_what_to_do(server: CliServer, cli: Cli, config: Path) -> None:
    changed(config, lr_warmup_steps=10_000, lerning_rate=1)
    done = cli.run("jobs", "preflight", str(config), "--hardware", "h100", "--max-run", "90m", "--run-name", "x")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("error    ")
    assert "lr_warmup_steps" in lines[0]
    assert lines[1].strip().startswith("→ Set lr_warmup_steps to")
    assert "Did you mean learning_rate?" in done.out
    assert lines[-1] == "Not ready: 1 error."
    assert cli.run("jobs", "preflight", str(config), "--json").code == 1


def test_warnings_have_to_be_accepted(cli: Cli, config: Path) -> None:
    changed(config, report_to="wandb", lerning_rate=1)
    refused = cli.run("jobs", "submit", str(config))
    assert refused.code == 4
    assert "--accept-warnings" in refused.err
    assert "config.report_to" in refused.err
    assert "Did you mean learning_rate?" in refused.err
    done = cli.run("jobs", "submit", str(config), "--accept-warnings")
    assert done.code == 0, done.err
    assert "Warning: The trainer's image takes no key for a tracker" in done.err
    assert len(done.out.split()) == 1


def test_the_answer_to_no_arguments_is_about_the_same_command(cli: Cli) -> None:
    for verb in ("preflight", "submit"):
        refused = cli.run("jobs", verb)
        assert refused.code == 2
        assert f"stcloud jobs {verb} config.json" in refused.err


def test_a_dataset_without_pictures_is_refused_by_both(cli: Cli, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a cat")
    assert cli.run("datasets", "push", str(folder), "--id", "texts", "--yes").code == 0
    entries = tmp_path / "texts.json"
    entries.write_text(json.dumps([{"id": "texts", "type": "local", "instance_data_dir": str(folder)}]))
    checked = cli.run("jobs", "preflight", str(config), "--dataloader", str(entries))
    assert (checked.code, "the dataset holds no pictures" in checked.out) == (1, True)
    refused = cli.run("jobs", "submit", str(config), "--dataloader", str(entries), "--accept-warnings")
    assert (refused.code, "the dataset holds no pictures" in refused.err) == (4, True)


def test_every_accepted_warning_is_shown(cli: Cli, config: Path) -> None:
    backend = config.parent / "multidatabackend.json"
    entry = json.loads(backend.read_text())[0]
    backend.write_text(json.dumps([entry | {"repeat": 2}, {"id": "mine", "type": "aws"}]))
    warned = [line for line in cli.run("jobs", "preflight", str(config)).out.splitlines() if "warning " in line]
    done = cli.run("jobs", "submit", str(config), "--accept-warnings", "--json")
    assert done.code == 0, done.err
    assert len(done.json()["warnings"]) == done.err.count("Warning: ") == 5
    for warning in done.json()["warnings"]:
        assert any(warning["message"] in line for line in warned) != (warning["check"] == "model")


def test_a_note_that_asks_for_nothing_has_no_advice(cli: Cli, config: Path) -> None:
    changed(config, train_batch_size=1)
    done = cli.run("jobs", "preflight", str(config))
    assert "passes over" in done.out
    assert "Nothing to do" not in done.out
    assert not [line for line in done.out.splitlines() if line.strip() == "→"]


def test_a_saved_config_can_be_checked_by_its_name(cli: Cli, config: Path) -> None:
    assert cli.run("configs", "push", "mine", str(config)).code == 0
    assert cli.run("jobs", "preflight", "--config-name", "mine").code == 0
    missing = cli.run("jobs", "preflight", "--config-name", "nowhere")
    assert missing.code == 1
    assert "stcloud configs push nowhere" in missing.out
    assert cli.run("jobs", "preflight").code == 2
