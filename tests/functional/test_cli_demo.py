"""The demo through the installed ``stcloud``, against the real API over loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from chalicelib.settings import AuthMode
from tests.fakes.world import World
from tests.functional.cli_server import CliServer, cli_server
from tests.unit.demo.test_run import weights_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[CliServer]:
    world = World()
    world.weights = weights_file([0.5, -0.5, 0.25, 1.0])
    world.services = replace(world.services, settings=world.services.settings.model_copy(update={"sandbox": True}))
    with cli_server(world) as running:
        running.seconds_per_look = 50
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64), (80 * i, 10, 10)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a red square, number {i}\n")
    return folder


def demo(server: CliServer, tmp_path: Path, images: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs it as a user does; the home is a test's own."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "local.demo", "--url", server.url, "--images", str(images)]
    return subprocess.run(
        [*command, "--cache", str(tmp_path / "demo"), *more],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_whole_way(server: CliServer, tmp_path: Path, images: Path) -> None:
    ran = demo(server, tmp_path, images)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in (
        f"$ stcloud datasets push {images} --id demo-photographs --yes",
        "$ stcloud jobs submit --config-name demo-flux-lora --run-name demo --watch",
        "Weights: 1 tensors, 4 numbers (F32), rank 1",
    ):
        assert line in ran.stdout
    assert "--json" not in ran.stdout
    here = next(line for line in ran.stdout.splitlines() if line.startswith("Here:"))
    assert Path(here.removeprefix("Here:").strip()).read_bytes() == server.world.weights
    assert re.search(r"running · training .*step \d+/200", ran.stderr)
    assert len(server.uploaded) == 6


def test_a_failed_training_ends_the_demo_with_its_code(server: CliServer, tmp_path: Path, images: Path) -> None:
    server.world.weights = None
    ran = demo(server, tmp_path, images)
    assert ran.returncode == 1
    assert "The demo stopped" in ran.stderr
    assert "The training failed." in ran.stderr
    assert "Traceback" not in ran.stderr


def test_nobody_at_home(server: CliServer, tmp_path: Path, images: Path) -> None:
    server.url = "http://127.0.0.1:9"
    ran = demo(server, tmp_path, images)
    assert ran.returncode == 5
    assert "make run" in ran.stderr


def test_on_a_stack_with_people_it_is_left_out_and_fails_nothing(tmp_path: Path, images: Path) -> None:
    world = World()
    world.services = replace(world.services, settings=world.services.settings.model_copy(update={"sandbox": True}))
    with cli_server(world, mode=AuthMode.TOKEN) as running:
        ran = demo(running, tmp_path, images)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"sign in: stcloud login --url {running.url}" in ran.stdout
        assert not [line for line in running.requests if "/cloud/jobs" in line]
