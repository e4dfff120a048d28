"""What every destination keeps to, however it is reached. A new one is added to ``PLACES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.domain.delivery_ports import Budget, DeliveryFault, Target
from chalicelib.domain.destinations import S3Destination, label
from tests.fakes.targets import FakeTargets
from tests.support.hub import running_hub
from tests.support.shipments import content_of, deliver, model, plenty, scarce, shipment_of


@dataclass
class Place:
    """``content`` is what lies at the destination by path, without what it writes itself; ``changes`` counts how often
    that was changed; ``cut`` makes a file end too early, behind the destination's back."""

    connect: Callable[[], Target]
    content: Callable[[], Mapping[str, bytes]]
    changes: Callable[[], int]
    cut: Callable[[str], None]


@contextmanager
def memory(_: Path) -> Iterator[Place]:
    world = FakeTargets()
    destination = S3Destination(bucket="models")
    name = label(destination)

    def cut(path: str) -> None:
        world.places[name][path] = world.places[name][path][:-1]

    yield Place(lambda: world(destination, None), lambda: world.places.get(name, {}), lambda: 1, cut)


@contextmanager
def hub(folder: Path) -> Iterator[Place]:
    with running_hub(folder) as running:

        def cut(path: str) -> None:
            repo = running.repo()
            file = repo.files(repo.branches["main"])[path]
            stored = running.hub.storage.path_of(file)
            stored.write_bytes(stored.read_bytes()[:-1])

        def content() -> Mapping[str, bytes]:
            return {p: d for p, d in running.content().items() if p != "README.md"}

        yield Place(running.target, content, running.commits, cut)


PLACES: Mapping[str, Callable[[Path], AbstractContextManager[Place]]] = {"memory": memory, "hub": hub}


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as made:
        yield made


def test_everything_arrives_and_is_confirmed(place: Place) -> None:
    shipment = shipment_of(model())
    outcome = deliver(place.connect, shipment)
    assert (outcome.verified, outcome.faults) == (True, [])
    assert place.content() == content_of(shipment)
    assert outcome.progress[-1] == shipment.bytes


def test_a_check_leaves_nothing_behind(place: Place) -> None:
    shipment = shipment_of(model())
    deliver(place.connect, shipment)
    before = dict(place.content())
    assert place.connect().check(seconds=10).facts
    assert (place.content(), place.changes()) == (before, 1)


def test_sending_twice_leaves_what_sending_once_does(place: Place) -> None:
    shipment = shipment_of(model())
    first = deliver(place.connect, shipment)
    again = deliver(place.connect, shipment)
    assert first.verified
    assert again.verified
    assert place.content() == content_of(shipment)
    assert place.changes() == 1


def test_it_goes_on_where_time_was_up(place: Place) -> None:
    shipment = shipment_of(model())
    outcome = deliver(place.connect, shipment, budget=scarce(4))
    assert outcome.verified
    assert outcome.steps > 2
    assert place.content() == content_of(shipment)


def test_progress_never_exceeds_what_there_is(place: Place) -> None:
    shipment = shipment_of(model())
    outcome = deliver(place.connect, shipment, budget=scarce(3))
    assert max(outcome.progress) == shipment.bytes


def test_a_cut_file_is_not_confirmed(place: Place) -> None:
    shipment = shipment_of(model())
    state = None
    for _ in range(20):
        advance = place.connect().send(shipment, state, plenty())
        state = dict(advance.state)
        if advance.done:
            break
    place.cut("pytorch_lora_weights.safetensors")
    with pytest.raises(DeliveryFault) as raised:
        place.connect().confirm(shipment, state or {}, plenty())
    assert raised.value.code == "corrupt_at_target"
    assert raised.value.advice


def test_a_model_that_left_escrow_is_said_to_be_missing(place: Place) -> None:
    shipment = shipment_of(model())
    shipment.escrow.delete([shipment.files[0].source_key])
    outcome = deliver(place.connect, shipment)
    assert outcome.problem is not None
    assert outcome.problem.code == "source_missing"


def test_what_was_begun_can_be_abandoned_and_begun_again(place: Place) -> None:
    shipment = shipment_of(model())
    budget: Budget = scarce(2)()
    state = place.connect().send(shipment, None, budget).state
    place.connect().abandon(shipment, state)
    place.connect().abandon(shipment, None)
    assert deliver(place.connect, shipment).verified
    assert place.content() == content_of(shipment)
