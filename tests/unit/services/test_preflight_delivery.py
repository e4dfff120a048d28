"""Destinations are asked before a GPU is paid for: refusals are errors, silence is none, and secrets stay secret."""

from __future__ import annotations

import pytest

from chalicelib.domain.check_results import Level
from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.errors import ValidationFailed
from tests.fakes.world import World
from tests.support.deliveries import BUCKET, HOOK, HUB, HUB_TOKEN, with_credentials
from tests.unit.services.checked import good_world, preflight, statuses, the

TO = {"destinations": [d.model_dump(mode="json") for d in (HUB, BUCKET, HOOK)]}


@pytest.fixture
def world() -> World:
    return with_credentials(good_world())


def refused() -> DeliveryFault:
    return DeliveryFault("forbidden", f"the token {HUB_TOKEN} may not write", f"Rotate {HUB_TOKEN}.", retry=False)


def silent() -> DeliveryFault:
    return DeliveryFault("unavailable", "it answered 503", "Wait.", retry=True)


def test_every_destination_is_asked_and_what_it_says_is_told(world: World) -> None:
    done = preflight(world, **TO)
    assert done.ok
    assert statuses(done)["delivery"] == "passed"
    assert world.targets.count("check") == 3
    assert world.targets.count("send") == 0
    told = [f.message for f in done.findings if f.code == "destination_checked"]
    assert sorted(told) == [
        "https://hooks.example.com: can be written to.",
        "huggingface:acme/cats: can be written to.",
        "s3://models/cats: can be written to.",
    ]


def test_a_refusal_is_an_error_in_preflight_and_in_submit_and_repeats_no_secret(world: World) -> None:
    world.targets.faults["check"] = [refused(), None, None]
    done = preflight(world, **TO)
    assert not done.ok
    finding = the(done, "destination_forbidden")
    assert finding.level is Level.ERROR
    assert finding.field == "destinations"
    assert HUB_TOKEN not in finding.message + finding.advice
    world.targets.faults["check"] = [refused()]
    with pytest.raises(ValidationFailed, match="may not write") as refusal:
        world.submit(destinations=[HUB.model_dump(mode="json")], accept_warnings=True)
    assert refusal.value.code == "destination_forbidden"
    assert HUB_TOKEN not in refusal.value.detail
    assert not world.provider.records


def test_a_destination_that_is_silent_holds_nothing_up(world: World) -> None:
    world.targets.faults["check"] = [silent(), None, None]
    done = preflight(world, **TO)
    assert done.ok
    assert statuses(done)["delivery"] == "skipped", "what could not be asked has not passed"
    assert the(done, "destination_not_reached").level is Level.NOTE
    world.targets.faults["check"] = [silent()]
    assert world.submit(destinations=[BUCKET.model_dump(mode="json")]).job.job_id


def test_a_check_that_breaks_is_never_taken_for_a_yes_and_the_log_has_no_secret(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.targets.faults["check"] = [RuntimeError(f"no: {HUB_TOKEN}"), None, None]
    done = preflight(world, **TO)
    assert statuses(done)["delivery"] == "skipped"
    assert "went wrong on our side" in the(done, "destination_not_reached").message
    assert "RuntimeError" in caplog.text
    assert HUB_TOKEN not in caplog.text


def test_submit_does_not_ring_at_the_users_machine(world: World) -> None:
    assert world.submit(destinations=[HOOK.model_dump(mode="json")]).job.job_id
    assert world.targets.count("check") == 0


def test_nothing_is_asked_for_a_submission_that_is_wrong_anyway(world: World) -> None:
    with pytest.raises(ValidationFailed):
        world.submit(destinations=[HUB.model_dump(mode="json")], dataloader_config=[{"id": "nowhere"}])
    assert world.targets.count("check") == 0


def test_a_missing_credential_is_said_once(world: World) -> None:
    world = with_credentials(good_world(), CredentialKind.S3)
    done = preflight(world, destinations=[HUB.model_dump(mode="json")])
    assert not done.ok
    assert [f.code for f in done.findings if f.level is Level.ERROR] == ["credential_missing"]
    assert world.targets.count("check") == 0
