"""The model card: what it says, that nothing people typed can break out of it, and that it repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.escrow import FileKind
from chalicelib.domain.licenses import front_matter_license
from chalicelib.domain.model_card import is_untouched_card, model_card
from tests.support.shipments import FACTS, model, shipment_of

GOLDEN = Path(__file__).parent / "data" / "model_card.md"
NASTY = "\n---\nlicense: mit\n```\n<script>alert(1)</script>![x](http://evil.test)`` \x00\u2028\ud800 '\"\\ #: [a](b)"


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(card[4:].split("\n---\n", 1)[0])
    return found


def card_of(facts: dict[str, Any], **changes: Any) -> str:
    return model_card(shipment_of(model(1000), facts=facts, **changes), "sandbox/cats")


def test_the_whole_card() -> None:
    assert card_of(dict(FACTS) | {"validation_prompt": "a photo of an ohwx cat"}) == GOLDEN.read_text(encoding="utf-8")


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front = front_matter(card_of(dict(FACTS)))
    assert front == {
        "license": "apache-2.0",
        "base_model": "black-forest-labs/FLUX.1-dev",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["simpletuner", "diffusers", "text-to-image", "lora", "flux"],
        "instance_prompt": "ohwx cat",
        "widget": [
            {"text": "ohwx cat", "output": {"url": "samples/step_500.png"}},
            {"text": "ohwx cat", "output": {"url": "samples/step_1000.png"}},
        ],
    }


def test_nothing_is_claimed_that_is_not_known() -> None:
    card = model_card(shipment_of({"m.safetensors": (FileKind.WEIGHTS, b"x")}, facts={}), "sandbox/cats")
    assert set(front_matter(card)) == {"library_name", "pipeline_tag", "tags"}
    for absent in ("## Samples", "## Use", "## Datasets", "## Training", "## Trigger", "None"):
        assert absent not in card


@pytest.mark.parametrize(
    "key", ["base_model", "license", "trigger", "note", "validation_prompt", "model_family", "rank"]
)
def test_what_people_typed_stays_data(key: str) -> None:
    for given_text in (NASTY, "-", "", "yes", "null", "{{x}}", "a" * 10_000, "日本語 🐈"):
        facts: dict[str, Any] = dict(FACTS) | {key: given_text}
        check(card_of(facts, run_name=given_text))


def check(card: str) -> None:
    front = front_matter(card)
    assert set(front) <= {
        "license", "license_name", "base_model", "base_model_relation", "library_name", "pipeline_tag", "tags",
        "instance_prompt", "widget",
    }  # fmt: skip
    body = card.split("\n---\n", 1)[1]
    assert body.count("\n```") in {0, 2}
    assert not [line for line in body.splitlines() if line.startswith(("---", "<script"))]
    assert len([line for line in body.splitlines() if line.startswith("# ")]) <= 2
    assert is_untouched_card(card)


@settings(deadline=None)
@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_any_text_stays_data(name: str, prompt: str, words: list[str]) -> None:
    facts = dict(FACTS) | {
        "validation_prompt": prompt,
        "trigger": " ".join(words),
        "note": prompt,
        "model_family": name,
        "datasets": [{"id": name, "version": prompt, "files": 1}],
        "base_model": prompt,
    }
    card = card_of(facts, run_name=name)
    check(card)
    assert card.encode("utf-8").decode() == card


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_prompts_come_back_from_the_front_matter(prompt: str) -> None:
    shown = " ".join(prompt.encode("utf-8", "replace").decode().split())
    front = front_matter(card_of(dict(FACTS) | {"validation_prompt": prompt}))
    assert front["widget"][0]["text"] == (shown or "ohwx cat")


def test_strange_facts_are_left_out() -> None:
    odd: list[Any] = [None, True, [], {}, object(), b"bytes", [["a"]], {"id": {}}, 1e400]
    for value in odd:
        for key in FACTS:
            check(card_of(dict(FACTS) | {key: value}))


def test_the_same_shipment_gives_the_same_card_and_an_edit_shows() -> None:
    card = card_of(dict(FACTS))
    assert card == card_of(dict(FACTS))
    assert is_untouched_card(card)
    for edited in (card.replace("Rank", "rank"), "x" + card, card + "more\n", "# Mine\n", "", card[:-30]):
        assert not is_untouched_card(edited)


def test_a_model_that_is_no_adapter_says_so() -> None:
    card = card_of(dict(FACTS) | {"model_type": "full"})
    assert "lora" not in front_matter(card)["tags"]
    assert "base_model_relation" not in front_matter(card)
    assert "load_lora_weights" not in card


def test_what_is_not_for_everybody_is_marked() -> None:
    assert "not-for-all-audiences" in front_matter(card_of(dict(FACTS) | {"safe_for_work": False}))["tags"]
    assert "not-for-all-audiences" not in front_matter(card_of(dict(FACTS) | {"safe_for_work": True}))["tags"]


def test_weights_in_a_folder_are_loaded_from_there() -> None:
    shipment = shipment_of(model(1000))
    moved = replace(shipment, files=[replace(shipment.files[0], path="run/`x`/w.safetensors")])
    card = model_card(moved, "sandbox/cats")
    assert 'weight_name="w.safetensors", subfolder="run/\\u0060x\\u0060"' in card


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ("Apache-2.0", [("license", "apache-2.0")]),
        (" mit ", [("license", "mit")]),
        ("FLUX.1 [dev] non-commercial", [("license", "other"), ("license_name", "flux.1-dev-non-commercial")]),
        ("日本", [("license", "other")]),
        ("", []),
        (None, []),
    ],
)
def test_licences_the_hub_does_not_know_are_other(wanted: str | None, lines: list[tuple[str, str]]) -> None:
    assert front_matter_license(wanted) == lines


def test_the_destinations_licence_counts_before_the_jobs() -> None:
    card = model_card(shipment_of(model(1000)), "sandbox/cats", license_id="mit")
    assert front_matter(card)["license"] == "mit"
