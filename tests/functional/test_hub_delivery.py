"""Deliveries to the sandbox Hub through the real huggingface_hub: what lies there then, and what stays as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.domain.delivery_ports import Budget, DeliveryFault, Shipment
from chalicelib.domain.escrow import FileKind
from chalicelib.domain.model_card import is_untouched_card
from local.sandbox.hub.people import READ_TOKEN, Holder
from tests.support.hub import RunningHub, running_hub
from tests.support.shipments import NOW, STATE_PREFIX, deliver, model, plenty, scarce, shipment_of, weights

FINE = "hf_fine"
ONE_REPO = "hf_one_repo"
TOKENS = {
    "hf_sandbox": Holder("sandbox", orgs={"team": "admin", "readers": "read"}),
    READ_TOKEN: Holder("sandbox", role="read"),
    FINE: Holder("sandbox", role="fineGrained", scoped=(("org", "team", ("repo.content.read", "repo.write")),)),
    ONE_REPO: Holder("sandbox", role="fineGrained", scoped=(("model", "sandbox/cats", ("repo.write",)),)),
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path, tokens=TOKENS) as running:
        yield running


def test_the_record_of_what_was_done(hub: RunningHub) -> None:
    shipment = shipment_of(model())
    outcome = deliver(hub.target, shipment)
    head = hub.repo().branches["main"]
    assert outcome.result["commit"] == head
    assert outcome.result["url"] == f"{hub.url}/sandbox/cats"
    assert (outcome.result["repo_id"], outcome.result["revision"], outcome.result["card"]) == (
        "sandbox/cats",
        "main",
        "written",
    )
    assert hub.repo().private
    card = hub.content()["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "black-forest-labs/FLUX.1-dev"
    assert hashlib.sha256(model()["pytorch_lora_weights.safetensors"][1]).hexdigest() in card
    assert is_untouched_card(card)


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub: RunningHub) -> None:
    deliver(hub.target, shipment_of(model()))
    assert not [made for made in hub.requests(authorized=True) if "/_storage/" in made]
    assert [made for made in hub.requests(authorized=False) if "/_storage/" not in made] == []
    assert not [made for made in hub.requests() if "agent-harnesses" in made or "xet" in made]


def test_content_is_sent_once_over_several_steps(hub: RunningHub) -> None:
    """However often time is up, each part goes over the wire once, and no content but the samples is read twice."""
    shipment = shipment_of(model(1_000_000))
    outcome = deliver(hub.target, shipment, budget=scarce(12))
    assert outcome.verified
    assert outcome.steps >= 4
    puts = [made for made in hub.requests() if made.startswith("PUT")]
    assert len(puts) == len(set(puts)) == 16 + 2


def test_notes_are_small_and_gone_in_the_end(hub: RunningHub) -> None:
    shipment = shipment_of(model(1_000_000))
    state = hub.target().send(shipment, None, scarce(4)()).state
    assert len(json.dumps(state)) < 500
    assert "key=" not in json.dumps(state)
    kept = [info.key for info in shipment.escrow.list(STATE_PREFIX)]
    assert any(key.endswith(".links.json") for key in kept)
    assert deliver(hub.target, shipment).verified
    assert list(shipment.escrow.list(STATE_PREFIX)) == []


def test_a_readme_of_somebody_elses_stays(hub: RunningHub) -> None:
    deliver(hub.target, shipment_of({"a.json": (FileKind.OTHER, b"1")}))
    hub.edit({"README.md": b"# Mine\n"})
    outcome = deliver(hub.target, shipment_of(model()))
    assert outcome.verified
    assert hub.content()["README.md"] == b"# Mine\n"
    assert "left as it is" in outcome.result["card"]


def test_our_own_card_is_renewed_unless_it_was_edited(hub: RunningHub) -> None:
    deliver(hub.target, shipment_of(model()))
    first = hub.content()["README.md"]
    deliver(hub.target, shipment_of(model(500_000), run_name="Cats again"))
    second = hub.content()["README.md"]
    assert first != second
    hub.edit({"README.md": second.replace(b"# Cats again", b"# My cats")})
    deliver(hub.target, shipment_of(model(200_000), run_name="Third"))
    assert b"# My cats" in hub.content()["README.md"]


def test_another_branch_is_made_and_main_stays(hub: RunningHub) -> None:
    outcome = deliver(lambda: hub.target(revision="v2"), shipment_of(model()))
    assert outcome.verified
    assert outcome.result["revision"] == "v2"
    assert "manifest.json" in hub.content(revision="v2")
    assert hub.content() == {}


def test_a_name_without_owner_is_the_tokens(hub: RunningHub) -> None:
    assert hub.target("cats").check(seconds=10).result["repo_id"] == "sandbox/cats"
    outcome = deliver(lambda: hub.target("cats"), shipment_of(model()))
    assert outcome.result["repo_id"] == "sandbox/cats"


@pytest.mark.parametrize("repo", ["a/b/c", "sandbox/--", "sandbox/x y", "../etc", "sandbox/"])
def test_what_is_no_name_ends_at_once(hub: RunningHub, repo: str) -> None:
    outcome = deliver(lambda: hub.target(repo), shipment_of(model()))
    assert outcome.problem is not None
    assert (outcome.problem.code, outcome.steps) == ("bad_destination", 1)


def test_empty_and_equal_files_arrive(hub: RunningHub) -> None:
    same = weights(100_000)
    files = {
        "a.safetensors": (FileKind.WEIGHTS, same),
        "b.safetensors": (FileKind.OTHER, same),
        "empty.bin": (FileKind.OTHER, b""),
        "with space & ümlaut.txt": (FileKind.OTHER, b"text\n"),
    }
    assert deliver(hub.target, shipment_of(files)).verified
    there = hub.content()
    assert {path: there[path] for path in files} == {path: data for path, (_, data) in files.items()}


def test_files_that_are_too_large_or_too_many_are_told_before_anything_is_sent(hub: RunningHub) -> None:
    shipment = shipment_of(model())
    large = replace(shipment.files[0], size=60 * 1000**3)
    huge = replace(shipment, files=[*shipment.files[1:], large])
    assert _problem(hub, huge).code == "too_large"
    text = {f"{n}.txt": (FileKind.OTHER, b"x" * 9_000_000) for n in range(2)}
    problem = _problem(hub, shipment_of(text))
    assert (problem.code, problem.retry) == ("too_large", False)
    assert "--include" in problem.advice
    assert not [made for made in hub.requests() if made.startswith("PUT")]


def test_content_that_differs_behind_a_right_record_is_caught(hub: RunningHub) -> None:
    def swap() -> None:
        repo = hub.repo()
        path = hub.hub.storage.path_of(repo.files(repo.branches["main"])["pytorch_lora_weights.safetensors"])
        path.write_bytes(b"\0" * path.stat().st_size)

    outcome = deliver(hub.target, shipment_of(model()), before_confirm=swap)
    assert outcome.problem is not None
    assert (outcome.problem.code, outcome.problem.retry) == ("corrupt_at_target", False)


def test_two_at_once_leave_one_commit_s_content(hub: RunningHub) -> None:
    """Steps of two executions, one after the other's: both end well, and nothing is there that differs."""
    shipment = shipment_of(model(500_000))
    states: list[dict[str, object] | None] = [None, None]
    done = [False, False]
    for turn in range(40):
        which = turn % 2
        if not done[which]:
            advance = hub.target().send(shipment, states[which], scarce(5)())
            states[which], done[which] = dict(advance.state), advance.done
    assert done == [True, True]
    assert states[0] is not None
    hub.target().confirm(shipment, states[0], plenty())
    assert hub.commits() == 1


@pytest.mark.parametrize(
    ("token", "repo", "code", "words"),
    [
        ("hf_unknown", "sandbox/cats", "unauthorized", "rotate hub"),
        (READ_TOKEN, "sandbox/cats", "forbidden", "can only read"),
        ("hf_sandbox", "strangers/cats", "forbidden", "no member of strangers"),
        ("hf_sandbox", "readers/cats", "forbidden", "role 'read'"),
        (FINE, "sandbox/cats", "forbidden", "fine-grained"),
        (ONE_REPO, "sandbox/cats", "not_found", "can't make it"),
        ("hf_sandbox", "sandbox/../x", "bad_destination", "no name"),
    ],
)
def test_a_check_says_what_is_missing_and_makes_nothing(
    hub: RunningHub, token: str, repo: str, code: str, words: str
) -> None:
    with pytest.raises(DeliveryFault) as raised:
        hub.target(repo, token=token).check(seconds=10)
    assert raised.value.code == code
    assert words in raised.value.message + raised.value.advice
    assert token not in str(raised.value) + raised.value.advice
    assert hub.hub.storage.repos() == []


def test_a_check_says_what_will_happen(hub: RunningHub) -> None:
    assert hub.target("team/cats", token=FINE).check(seconds=10).facts == (
        ["team/cats will be made, private, as sandbox"]
    )
    hub.hub.storage.create("sandbox/cats", private=False)
    assert hub.target(token=ONE_REPO).check(seconds=10).facts == [
        "writes to sandbox/cats as sandbox",
        "sandbox/cats is public already, and stays so",
    ]
    assert hub.commits() == 0


def test_a_delivery_with_a_token_for_one_repository(hub: RunningHub) -> None:
    hub.hub.storage.create("sandbox/cats", private=True)
    assert deliver(lambda: hub.target(token=ONE_REPO), shipment_of(model())).verified


def test_a_step_whose_time_is_up_still_moves(hub: RunningHub) -> None:
    shipment = shipment_of(model(400_000))
    late = Budget(NOW, lambda: NOW)
    state: dict[str, Any] | None = None
    seen: list[int] = []
    for _ in range(12):
        advance = hub.target().send(shipment, state, late)
        state = dict(advance.state)
        seen.append(advance.bytes_done)
    assert seen[0] > 0
    assert seen == sorted(seen)
    assert seen[-1] == sum(file.size for file in shipment.files if file.path != "manifest.json")


def _problem(hub: RunningHub, shipment: Shipment) -> DeliveryFault:
    outcome = deliver(hub.target, shipment)
    assert outcome.problem is not None
    return outcome.problem
