"""One deployed stack for the whole tier, and one place where packages are built."""

from pathlib import Path

import pytest

from tests.support.stack_fixtures import stack, whole_stack

__all__ = ["build_dir", "stack", "whole_stack"]


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")
