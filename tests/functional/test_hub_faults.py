"""Everything that goes wrong at the Hub, at every single request: the model arrives all the same, or the delivery ends
with the right words; and whatever happens it is never there twice, or different."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.escrow import FileKind
from tests.fakes.aws import InMemoryObjectStore
from tests.support.hub import RunningHub, running_hub
from tests.support.shipments import Outcome, content_of, deliver, model, scarce, shipment_of, weights

#: Two parts, a single one, and what git keeps itself.
SMALL: Mapping[str, tuple[FileKind, bytes]] = {
    "pytorch_lora_weights.safetensors": (FileKind.WEIGHTS, weights(90_000)),
    "samples/1.png": (FileKind.SAMPLE, b"\x89PNG\0\1"),
    "manifest.json": (FileKind.OTHER, b"{}\n"),
}
PASSING: list[Mapping[str, Any]] = [
    {"fault": "409"},
    {"fault": "409-commit"},
    {"fault": "429", "ratelimit": 55},
    {"fault": "429", "retry_after": "7"},
    {"fault": "500"},
    {"fault": "502"},
    {"fault": "503"},
    {"fault": "504"},
    {"fault": "reset"},
]
FINAL = {"401": "unauthorized", "403": "forbidden", "quota": "quota", "payment": "quota", "404": "not_found"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(hub: RunningHub) -> None:
    afresh(hub)


def afresh(hub: RunningHub) -> None:
    hub.hub.storage.clear()
    hub.hub.gate.requests.clear()
    hub.rules()
    hub.read_seconds = 10.0


def requests_of_a_delivery(hub: RunningHub) -> list[str]:
    assert deliver(hub.target, shipment_of(SMALL)).verified
    made = hub.requests()
    afresh(hub)
    return made


def run(hub: RunningHub, number: int, rule: Mapping[str, Any], **more: Any) -> Outcome:
    afresh(hub)
    hub.rules({"times": 1, "skip": number, **rule, **more})
    shipment = shipment_of(SMALL)
    outcome = deliver(hub.target, shipment)
    if outcome.verified:
        there = hub.content()
        assert there.pop("README.md")
        assert there == content_of(shipment)
        assert hub.commits() == 1
    assert shipment.escrow.get(shipment.files[0].source_key) == SMALL[shipment.files[0].path][1]
    return outcome


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rule", PASSING, ids=lambda rule: "-".join(str(v) for v in rule.values()))
def test_what_passes_is_survived_at_every_request(hub: RunningHub, rule: Mapping[str, Any], when: str) -> None:
    made = requests_of_a_delivery(hub)
    assert len(made) > 15
    for number, request in enumerate(made):
        outcome = run(hub, number, rule, when=when)
        assert outcome.verified, f"{request}: {outcome.problem or outcome.faults}"


def test_silence_is_survived_at_every_request(hub: RunningHub) -> None:
    made = requests_of_a_delivery(hub)
    hangs = 0
    for number, request in enumerate(made):
        for when in ("before", "after"):
            afresh(hub)
            hub.read_seconds = 0.2
            hub.rules({"fault": "hang", "seconds": 0.4, "times": 1, "skip": number, "when": when})
            shipment = shipment_of(SMALL)
            outcome = deliver(hub.target, shipment)
            assert outcome.verified, f"{request}: {outcome.problem or outcome.faults}"
            assert hub.commits() == 1
            hangs += any(fault.code == "timeout" for fault in outcome.faults)
    assert hangs > 10


@pytest.mark.parametrize("fault", sorted(FINAL))
def test_what_does_not_pass_ends_with_words_that_help(hub: RunningHub, fault: str) -> None:
    ended = 0
    for number, request in enumerate(requests_of_a_delivery(hub)):
        outcome = run(hub, number, {"fault": fault})
        if outcome.verified:
            # A link to the storage was refused: that says nothing of the token, and a new one is asked for.
            assert "/_storage/" in request or "README.md" in request or "/lfs/objects/verify" in request, request
            continue
        ended += 1
        problem = outcome.problem
        assert problem is not None
        assert (problem.code, problem.retry) == (FINAL[fault], False), request
        assert "sandbox/cats" in problem.message + problem.advice
        if problem.code in {"unauthorized", "forbidden"}:
            assert "stcloud credentials rotate hub" in problem.advice
            assert "/settings/tokens" in problem.advice
        assert "hf_" not in f"{problem}{problem.message}{problem.advice}"
    assert ended > 8


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("409", "conflict"),
        ("409-commit", "conflict"),
        ("412", "conflict"),
        ("503", "unavailable"),
        ("429", "throttled"),
    ],
)
def test_what_never_passes_is_told_each_time_and_in_bounded_requests(hub: RunningHub, fault: str, code: str) -> None:
    """The library alone would ask for ever (409 when it makes a repository), or sleep as long as it is told to."""
    for pattern in ("repos/create", "/commit/", "/preupload/", "objects/batch"):
        afresh(hub)
        hub.rules({"fault": fault, "match": pattern, "retry_after": "100000"})
        with pytest.raises(AssertionError, match="not over after 3 steps"):
            deliver(hub.target, shipment_of(SMALL), steps=3)
        assert sum(pattern in made for made in hub.requests()) <= 15, pattern


def test_the_pause_that_the_hub_asks_for_is_passed_on(hub: RunningHub) -> None:
    for more, seconds in (({"ratelimit": 55}, 56), ({"retry_after": "7"}, 7)):
        afresh(hub)
        hub.rules({"fault": "429", "times": 1, "match": "preupload", **more})
        outcome = deliver(hub.target, shipment_of(SMALL))
        assert outcome.verified
        assert [fault.retry_after for fault in outcome.faults] == [timedelta(seconds=seconds)]


def test_links_that_end_are_asked_for_again(tmp_path: Path) -> None:
    with running_hub(tmp_path, link_seconds=3600) as hub:
        shipment = shipment_of(model(600_000))
        hub.rules({"fault": "403", "match": "^PUT .*/[3-6]$", "times": 2})
        outcome = deliver(hub.target, shipment)
        assert (outcome.verified, outcome.faults) == (True, [])
        assert sum("batch" in made for made in hub.requests()) >= 3


def test_links_that_are_never_good_are_told_and_not_asked_for_for_ever(tmp_path: Path) -> None:
    with running_hub(tmp_path, link_seconds=-1) as hub:
        with pytest.raises(AssertionError, match="refuses the links"):
            deliver(hub.target, shipment_of(SMALL), steps=2)
        assert sum("batch" in made for made in hub.requests()) <= 8


def test_a_commit_of_somebody_elses_in_between_is_kept(hub: RunningHub) -> None:
    deliver(hub.target, shipment_of({"old.json": (FileKind.OTHER, b"1")}))
    shipment = shipment_of(SMALL)
    hub.rules({"fault": "412", "match": "/commit/", "times": 2})
    hub.edit({"notes.md": b"mine"})
    assert deliver(hub.target, shipment).verified
    there = hub.content()
    assert there["notes.md"] == b"mine"
    assert there["old.json"] == b"1"
    assert {path: there[path] for path in SMALL} == content_of(shipment)


def test_an_upload_that_was_finished_unheard_is_not_sent_again(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        hub.rules(
            {"fault": "500", "match": "/complete$", "when": "after", "times": 1},
            {"fault": "500", "match": "/complete$"},
        )
        outcome = deliver(hub.target, shipment_of(model()))
        assert outcome.verified
        puts = [made for made in hub.requests() if made.startswith("PUT")]
        assert len(puts) == len(set(puts)) == 5 + 2


def test_an_upload_that_can_t_be_finished_is_begun_anew(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        hub.rules({"fault": "500", "match": "/complete$", "times": 9})
        outcome = deliver(hub.target, shipment_of(model()))
        assert outcome.verified
        assert len(outcome.faults) == 3
        assert sum(made.startswith("PUT") for made in hub.requests()) == 2 * 5 + 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_may_die_at_every_request(hub: RunningHub, when: str) -> None:
    """What it knew is lost: the next one has the state of the step before, and the notes."""
    made = requests_of_a_delivery(hub)
    died = 0
    for number, request in enumerate(made):
        outcome = run(hub, number, {"fault": "reset"}, when=when, times=3)
        assert outcome.verified, f"{request}: {outcome.problem or outcome.faults}"
        died += bool(outcome.faults)
    assert died > 10


class Killed(BaseException):
    """The process is gone."""


class MortalStore(InMemoryObjectStore):
    """Dies at its ``fatal``-th call, once."""

    def __init__(self) -> None:
        super().__init__("outputs")
        self.fatal = -1
        self.calls = 0

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.fatal:
            raise Killed

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        self._call()
        return super().get(key, start=start, length=length)

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        self._call()
        super().put(key, data, content_type=content_type)


def test_a_process_may_die_at_every_touch_of_escrow(hub: RunningHub) -> None:
    calls = 1
    for fatal in range(1, 60):
        afresh(hub)
        store = MortalStore()
        shipment = shipment_of(SMALL, store)
        store.calls, store.fatal = 0, fatal
        try:
            outcome = deliver(hub.target, shipment, budget=scarce(6))
        except Killed:
            outcome = deliver(hub.target, shipment, budget=scarce(6))
        calls, store.fatal = store.calls, -1
        assert outcome.verified
        assert hub.commits() == 1
        there = hub.content()
        assert {path: there[path] for path in SMALL} == content_of(shipment)
        if fatal > calls:
            break
    assert calls > 10
