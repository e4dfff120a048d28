"""One deployed stack for the whole tier, one with people, and one place where packages are built."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.closed_stack import ClosedStack, running_closed_stack
from tests.support.stack_fixtures import stack, whole_stack

__all__ = ["build_dir", "stack", "team", "whole_stack"]


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClosedStack]:
    """A stack of its own, since nobody can open the doors again."""
    with running_closed_stack(tmp_path_factory.mktemp("closed-stack")) as team:
        yield team
