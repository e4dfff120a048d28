"""Preflight asks others: the provider, the Hub, what is spent, what runs. Whoever does not answer is skipped."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.check_results import CheckStatus, Level
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.hub import HubRepo, RepoKind
from chalicelib.domain.ports import Limits
from chalicelib.errors import PermissionDenied
from chalicelib.services.preflight import PreflightService
from tests.fakes.world import ME, World
from tests.unit.services.checked import GOOD, PICTURES, codes, good_world, preflight, statuses, the


@pytest.fixture
def world() -> World:
    return good_world()


# --- provider -------------------------------------------------------------------------------------------------
def refused_token() -> ProviderFault:
    return ProviderFault("the token is invalid", kind=FaultKind.AUTH, code="auth", sent=False)


def test_a_token_that_is_refused_is_an_error_and_asked_about_anew(world: World) -> None:
    world.provider.faults["validate"] = [refused_token()]
    done = preflight(world)
    assert the(done, "provider_token_refused").level is Level.ERROR
    assert preflight(world).ok
    asked = world.provider.calls.count("validate")
    assert preflight(world).ok
    assert world.provider.calls.count("validate") == asked == 2
    world.clock.advance(301)
    preflight(world)
    assert world.provider.calls.count("validate") == 3


def test_a_provider_that_does_not_answer_is_skipped_not_passed(world: World) -> None:
    world.provider.faults["validate"] = [ProviderFault("503", kind=FaultKind.PROVIDER, code="down", sent=False)]
    done = preflight(world)
    check = next(c for c in done.checks if c.name == "provider")
    assert (check.status, check.reason) == (CheckStatus.SKIPPED, "replicate did not answer: 503")
    wrong = ProviderFault("503", kind=FaultKind.PROVIDER, code="down", sent=False)
    world.provider.faults["validate"] = [wrong]
    assert statuses(preflight(world, hardware_profile="toaster"))["provider"] == "failed"


def test_whoever_takes_too_long_is_not_waited_for(world: World) -> None:
    answered = threading.Event()

    class Slow:
        def look(self, kind: RepoKind, name: str) -> HubRepo | None:
            answered.wait(10)
            return None

    impatient = PreflightService(replace(world.ports, hub=Slow()), ask_seconds=0.05)
    done = preflight(world, service=impatient)
    answered.set()
    check = next(c for c in done.checks if c.name == "model")
    assert (check.status, check.reason) == (CheckStatus.SKIPPED, "no answer came in time")


def test_a_check_with_a_defect_takes_no_other_with_it(world: World) -> None:
    class Broken:
        def look(self, kind: RepoKind, name: str) -> HubRepo | None:
            raise ZeroDivisionError

    done = preflight(world, service=PreflightService(replace(world.ports, hub=Broken())))
    check = next(c for c in done.checks if c.name == "model")
    assert (check.status, check.reason) == (CheckStatus.SKIPPED, "something went wrong on our side")
    assert statuses(done)["provider"] == "passed"


# --- base model -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "level", "code"),
    [
        ("black-forest-labs/FLUX.1-dev", "warning", "gated"),
        ("black-forest-labs/FLUX.1-dev", "note", "license"),
        ("me/private", "warning", "not_on_hub"),
        ("/models/flux.safetensors", "warning", "not_on_trainer"),
        (None, "warning", "gated"),
    ],
)
def test_the_base_model(world: World, model: str | None, level: str, code: str) -> None:
    done = preflight(world, config={**GOOD, "--pretrained_model_name_or_path": model})
    assert the(done, code).level == level
    assert done.ok


def test_datasets_on_the_hub_are_looked_up_too(world: World) -> None:
    entry = {"id": "h", "type": "huggingface", "dataset_name": "owner/pictures"}
    world.hub.put(HubRepo("owner/pictures"), RepoKind.DATASET)
    assert "not_on_hub" not in codes(preflight(world, dataloader_config=[entry]))
    done = preflight(world, dataloader_config=[{**entry, "dataset_name": "owner/nothing"}])
    assert the(done, "not_on_hub").field == "dataloader_config.0.dataset_name"
    assert statuses(done)["length"] == "skipped"


def reason(world: World, **body: Any) -> tuple[str, str]:
    check = next(c for c in preflight(world, **body).checks if c.name == "model")
    return check.status.value, check.reason or ""


def test_what_the_hub_was_not_asked_about_has_not_passed_and_is_named(world: World) -> None:
    for n in range(6):
        world.hub.put(HubRepo(f"owner/d{n}", license="mit"), RepoKind.DATASET)
    entries = [{"id": f"h{n}", "type": "huggingface", "dataset_name": f"owner/d{n}"} for n in range(6)]
    assert reason(world, dataloader_config=entries[:5]) == ("passed", "")
    assert reason(world, dataloader_config=entries) == ("skipped", "the Hub was not asked about the dataset 'owner/d5'")
    unnamed = [entries[0], {"id": "h", "type": "huggingface", "dataset_name": "no name at all"}]
    assert "'no name at all'" in reason(world, dataloader_config=unnamed)[1]
    inside = [{"id": "h", "type": "huggingface", "huggingface": {"dataset_name": "owner/nothing"}}]
    finding = the(preflight(world, dataloader_config=inside), "not_on_hub")
    assert finding.field == "dataloader_config.0.huggingface.dataset_name"


@pytest.mark.parametrize("model", ["https://example.org/flux.safetensors", "/models/flux.safetensors"])
def test_a_base_model_that_is_not_on_the_hub_has_not_passed(world: World, model: str) -> None:
    status, said = reason(world, config={**GOOD, "--pretrained_model_name_or_path": model})
    assert (status, model in said) == ("skipped", True)


def test_an_unknown_base_model_is_named_beside_a_dataset_that_was_found(world: World) -> None:
    world.hub.put(HubRepo("owner/d", license="mit"), RepoKind.DATASET)
    entry = {"id": "h", "type": "huggingface", "dataset_name": "owner/d"}
    unknown = {**GOOD, "--model_family": "brandnew", "--pretrained_model_name_or_path": ""}
    status, said = reason(world, config=unknown, dataloader_config=[entry])
    assert (status, "the base model" in said) == ("skipped", True)


def test_a_hub_that_is_down_is_skipped(world: World) -> None:
    world.hub.down = "the Hub does not answer"
    done = preflight(world)
    check = next(c for c in done.checks if c.name == "model")
    assert (check.status, check.reason) == (
        CheckStatus.SKIPPED,
        "open/model could not be looked up: the Hub does not answer",
    )
    assert statuses(preflight(world, config={**GOOD, "model_family": "unheard_of", "--model_family": "unheard_of",
                                             "--pretrained_model_name_or_path": ""}))["model"] == "skipped"  # fmt: skip


# --- money, time, places --------------------------------------------------------------------------------------
def test_a_keys_budget_must_cover_the_worst_case(world: World) -> None:
    poor = replace(ME, key_id="k", budget_id="k", budget_usd=Decimal("1.00"))
    done = preflight(world, who=poor, max_run_seconds=3600)
    finding = the(done, "key_budget_exceeded")
    assert (finding.level, finding.field) == (Level.ERROR, "max_run_seconds")
    assert "655 seconds" in finding.advice
    assert preflight(world, who=poor, max_run_seconds=600).ok
    with pytest.raises(PermissionDenied):
        world.submit(who=poor, config=GOOD, max_run_seconds=3600)
    broke = replace(poor, budget_usd=Decimal("0.10"))
    assert "Use another key" in the(preflight(world, who=broke, max_run_seconds=600), "key_budget_exceeded").advice


def test_a_budget_is_judged_by_the_worst_case_not_the_likely_one(world: World) -> None:
    world.submit(config=GOOD, accept_warnings=True)
    world.run(400)
    poor = replace(ME, key_id="k", budget_id="k", budget_usd=Decimal("2.00"))
    done = preflight(world, who=poor, max_run_seconds=3600)
    assert done.estimate is not None
    assert done.estimate.cost(done.estimate.guess.high) < Decimal("2.00") < done.estimate.max_cost_usd
    assert (done.ok, the(done, "key_budget_exceeded").level) == (False, Level.ERROR)


def test_the_estimate_learns_from_past_runs(world: World) -> None:
    guessed = preflight(world).estimate
    assert guessed is not None
    assert not guessed.guess.measured
    assert guessed.max_cost_usd == Decimal("131.76")
    job = world.submit(config=GOOD, accept_warnings=True).job
    world.run(400)
    assert world.job(job.job_id).run_seconds
    learned = preflight(world).estimate
    assert learned is not None
    assert learned.guess.measured
    assert learned.guess.likely == world.job(job.job_id).run_seconds
    late = preflight(world, max_run_seconds=300, config={**GOOD, "--max_train_steps": 2000})
    assert the(late, "longer_than_limit").level is Level.WARNING
    other = preflight(world, config={**GOOD, "--model_family": "sdxl"}).estimate
    assert other is not None
    assert not other.guess.measured


def test_a_price_below_a_cent_is_no_price_of_nothing(world: World) -> None:
    world.submit(config=GOOD, accept_warnings=True)
    world.run(400)
    dear = preflight(world)
    assert dear.estimate is not None
    assert dear.estimate.cost(dear.estimate.guess.likely) >= Decimal("0.01")
    assert "and likely about $" in the(dear, "cost").message
    short = preflight(world, config={**GOOD, "--max_train_steps": 1})
    assert "and likely under $0.01 (estimate: your last run" in the(short, "cost").message


def test_what_a_rule_of_thumb_says_is_a_note(world: World) -> None:
    assert the(preflight(world, max_run_seconds=300), "longer_than_limit").level is Level.NOTE


def test_places_that_are_taken() -> None:
    world = World(limits=Limits(max_concurrent_jobs=1))
    world.push(PICTURES, source="/data/photos")
    world.submit(config=GOOD)
    done = preflight(world)
    assert the(done, "slots_full").level is Level.WARNING
    assert done.ok
