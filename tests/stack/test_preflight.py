"""Preflight and consent on a deployed stack: every check over HTTP with the rights that the API has, nothing made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.stack import Stack
from tests.support.trainings import dataloader, pictures, submission

PREFLIGHT = "/cloud/jobs/preflight?provider=replicate"
SUBMIT = "/cloud/jobs/submit?provider=replicate"
SETTING = "/cloud/data-consent/setting"
DATASET = "checked-squares"
CHECKS = {
    *("options", "config", "dataloader", "datasets", "length", "delivery"),
    *("provider", "model", "budget", "time", "concurrency"),
}


@pytest.fixture(autouse=True)
def _dataset(stack: Stack) -> None:
    stack.push(DATASET)


def preflight(stack: Stack, **fields: Any) -> dict[str, Any]:
    answer = stack.api("POST", PREFLIGHT, json=submission(DATASET) | fields)
    assert answer.status == 200, answer.json
    found: dict[str, Any] = answer.json
    return found


def codes(found: dict[str, Any], *levels: str) -> set[str]:
    return {f["code"] for f in found["findings"] if not levels or f["level"] in levels}


def test_every_check_is_made_and_nothing_else(stack: Stack) -> None:
    before = stack.ok("GET", "/cloud/jobs?limit=500")["total"], len(stack.sandbox.predictions())
    found = preflight(stack)
    assert found["ok"] is True
    assert codes(found, "error", "warning") == set()
    states = {check["name"]: check["status"] for check in found["checks"]}
    assert states.keys() == CHECKS
    # The inspection may still be under way; the sandbox asks no Hub.
    assert states.pop("datasets") in {"passed", "pending"}
    assert states.pop("model") == "skipped"
    # The model stays in the stack's bucket, so there is nothing to check.
    assert states.pop("delivery") == "skipped"
    assert set(states.values()) == {"passed"}
    assert all(check["reason"] for check in found["checks"] if check["status"] in {"skipped", "pending"})
    assert found["estimate"]["images"] == 6
    assert (stack.ok("GET", "/cloud/jobs?limit=500")["total"], len(stack.sandbox.predictions())) == before


def test_what_is_wrong_is_told_in_one_answer(stack: Stack) -> None:
    body = submission(DATASET)
    config = {**body["config"], "--lr_warmup_steps": 99, "--lerning_rate": 1}
    entries = [*dataloader(DATASET), {"id": "hub", "type": "huggingface"}, *dataloader("never-pushed")]
    found = preflight(stack, config=config, dataloader_config=entries)
    assert found["ok"] is False
    assert {"warmup_exceeds_steps", "missing", "dataset_unresolved"} <= codes(found, "error")
    assert "unknown_option" in codes(found, "warning")
    levels = [f["level"] for f in found["findings"]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_captions_are_looked_for_before_a_gpu_is_paid(stack: Stack) -> None:
    files = {path: data for path, data in pictures().items() if path != "picture-3.txt"}
    stack.push("half-captioned", files)
    body = submission("half-captioned")
    found = preflight(stack, **body)
    (finding,) = [f for f in found["findings"] if f["code"] == "captions_missing"]
    assert (finding["level"], finding["paths"]) == ("warning", ["picture-3.png"])
    refused = stack.api("POST", SUBMIT, json=body)
    assert (refused.status, refused.json["code"]) == (422, "warnings_not_accepted")
    entries = [{**dataloader("half-captioned")[0], "caption_strategy": "filename"}]
    done = stack.ok("POST", SUBMIT, json={**body, "dataloader_config": entries})
    stack.wait(done["job_id"], "completed")


def test_an_accepted_warning_is_kept_with_the_job(stack: Stack) -> None:
    body = submission(DATASET)
    body["config"]["--report_to"] = "wandb"
    assert stack.api("POST", SUBMIT, json=body).status == 422
    done = stack.ok("POST", SUBMIT, json={**body, "accept_warnings": True})
    assert [w["code"] for w in done["warnings"]] == ["tracker_without_key"]
    events = stack.ok("GET", f"/cloud/jobs/{done['job_id']}/events")["events"]
    assert "job.warning_accepted" in [e["type"] for e in events]
    stack.wait(done["job_id"], "completed")


def test_hardware_that_the_provider_has_not_is_found(stack: Stack) -> None:
    found = preflight(stack, hardware_profile="toaster")
    assert "invalid" in codes(found, "error")
    assert {c["name"]: c["status"] for c in found["checks"]}["provider"] == "failed"


def test_no_data_is_taken_from_whoever_denies_it(stack: Stack) -> None:
    assert stack.ok("GET", SETTING) == {"consent": "ask"}
    manifest = {"dataset_id": "denied", "files": [{"path": "a.jpg", "size": 1, "sha256": "0" * 64}]}
    try:
        assert stack.ok("PUT", SETTING, json={"consent": "deny"})["consent"] == "deny"
        refused = stack.api("POST", "/cloud/datasets", json=manifest)
        assert (refused.status, refused.json["code"]) == (403, "consent_denied")
        shown = stack.ok("POST", "/cloud/data-consent/preview", json=dataloader(DATASET, "never-pushed"))
        assert (shown["consent_mode"], shown["requires_upload"]) == ("deny", True)
        assert [d["uploaded"] for d in shown["datasets"]] == [True, False]
    finally:
        stack.ok("PUT", SETTING, json={"consent": "ask"})
    assert stack.api("PUT", SETTING, json={"consent": "zzz"}).status == 400
