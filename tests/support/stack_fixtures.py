"""Fixtures of the deployed stack, for the conftest.py of a tier: one stack for all its tests, never the user's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    if hasattr(request.config, "workerinput"):
        pytest.fail("These tests share one stack, which every worker would start anew: run them without -n.")
    with running_stack(tmp_path_factory.mktemp("whole-stack")) as stack:
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """The stack with nothing going wrong at the provider, before and after."""
    whole_stack.sandbox.faults()
    yield whole_stack
    whole_stack.sandbox.faults()
