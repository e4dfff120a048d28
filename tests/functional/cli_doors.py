"""A server with its doors closed and the command line of its first admin; fixtures for tests to import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.settings import AuthMode
from tests.functional.cli_server import CliServer, cli_server
from tests.functional.cli_tools import Cli, Ran

PASSWORD = "Correct-Horse-7-Battery"
NEW = "Another-Horse-8-Battery"
#: How long a Lambda may take the stack for one without people.
CACHED_SECONDS = 6


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server(mode=AuthMode.LOCAL) as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


@pytest.fixture
def ada(server: CliServer, cli: Cli) -> Cli:
    """The command line of the first admin, signed in."""
    done = typing(cli, "setup", "--username", "ada", "--email", "ada@example.com", answers=[PASSWORD, PASSWORD])
    assert done.code == 0, done.err
    server.world.clock.advance(CACHED_SECONDS)
    return cli


def typing(cli: Cli, *args: str, answers: list[str]) -> Ran:
    """A command in a terminal, with what the user types."""
    ran = cli.run(*args, interactive=True, answer="".join(f"{text}\n" for text in answers))
    for secret in (PASSWORD, NEW):
        assert secret not in ran.out + ran.err
    return ran


def other_computer(cli: Cli, name: str) -> Cli:
    return Cli(cli.url, cli.home.parent / name, [], cli.environ)
