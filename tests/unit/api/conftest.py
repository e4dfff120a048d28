from __future__ import annotations

import pytest

from tests.fakes.world import World
from tests.unit.api.client import ApiClient, local_services
from tests.unit.api.team import Team


@pytest.fixture
def world() -> World:
    """A world with the dataset ``photos``, pushed from ``/data/photos``."""
    world = World()
    world.push(source="/data/photos")
    return world


@pytest.fixture
def api(world: World) -> ApiClient:
    """The API of a stack on this computer."""
    return ApiClient(local_services(world))


@pytest.fixture
def team(world: World) -> Team:
    """Its people and their doors, on a stack on this computer."""
    return Team(world)
