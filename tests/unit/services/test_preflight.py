"""Preflight and submit over a whole service in memory: datasets, and that the two agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.check_results import Level
from chalicelib.domain.inspection_facts import Counts
from chalicelib.errors import NotFound, PermissionDenied, ValidationFailed
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.preflight import MAX_FINDINGS, PreflightService
from chalicelib.services.submission import SubmissionService
from tests.fakes.world import DATALOADER, ME, OWNER, World
from tests.support.deliveries import with_credentials
from tests.unit.services.checked import GOOD, PICTURES, codes, facts, good_world, inspected, preflight, statuses, the


@pytest.fixture
def world() -> World:
    return good_world()


# --- the whole ------------------------------------------------------------------------------------------------
def test_a_good_submission_passes_every_check_and_makes_nothing(world: World) -> None:
    inspected(world, facts=facts(), findings=[])
    done = preflight(world)
    assert done.ok
    # What is asked of nobody is not passed.
    assert {name for name, status in statuses(done).items() if status != "passed"} == {"delivery"}
    assert statuses(done)["delivery"] == "skipped"
    assert set(statuses(done)) == {
        *("options", "config", "dataloader", "datasets", "length", "delivery"),
        *("provider", "model", "budget", "time", "concurrency"),
    }
    assert codes(done, Level.ERROR, Level.WARNING) == []
    assert world.jobs.slot_holders(OWNER) == frozenset()
    assert not world.machine.executions
    assert not world.provider.records
    first, again = preflight(world), preflight(world)
    assert first.findings == again.findings
    assert world.submit(config=GOOD).job.job_id


def test_everything_that_is_wrong_is_told_at_once_errors_first(world: World) -> None:
    done = preflight(
        world,
        config={"model_family": "fluxx", "lora_rnk": 1, "max_train_steps": 0, "hub_token": "s"},
        dataloader_config=[{"id": "nowhere"}, {"id": "h", "type": "huggingface"}],
        hardware_profile="toaster",
    )
    assert not done.ok
    assert {f.check for f in done.findings if f.level is Level.ERROR} == {
        "config",
        "dataloader",
        "datasets",
        "provider",
    }
    levels = [f.level for f in done.findings]
    assert levels == sorted(levels, key=list(Level).index)
    assert all(f.message and (f.advice or f.level is Level.NOTE) for f in done.findings)
    unresolved = the(done, "dataset_unresolved")
    assert unresolved.field == "dataloader_config.0"
    assert unresolved.message.startswith("No uploaded dataset has the id ")
    assert unresolved.advice.startswith("Run: stcloud datasets push ")
    assert "Run:" not in unresolved.message
    assert statuses(done)["length"] == "skipped"
    assert done.estimate is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"config": None}, "no_config"),
        ({"config_name_to_load": "x"}, "validation_failed"),
        ({"config": None, "config_name_to_load": "nowhere"}, "config_not_found"),
    ],
)
def test_a_config_that_is_not_there_is_a_finding(world: World, body: dict[str, Any], code: str) -> None:
    done = preflight(world, **body)
    assert (done.ok, codes(done)) == (False, [code])


def test_what_the_query_or_the_key_forbids_is_refused_as_by_submit(world: World) -> None:
    request = SubmitRequest.model_validate({"config": GOOD})
    with pytest.raises(NotFound):
        world.services.preflight.check(ME, request, "nowhere")
    with pytest.raises(PermissionDenied):
        world.services.preflight.check(replace(ME, providers=frozenset({"other"})), request, "replicate")


def test_an_answer_holds_so_many_findings_and_errors_first(world: World) -> None:
    many = [{"id": f"e{n}", "type": "huggingface", "metadata_backend": "x", "crop_style": "y"} for n in range(50)]
    done = preflight(world, dataloader_config=[*many, {"id": "a", "caption_strategy": "z"}])
    assert len(done.findings) <= MAX_FINDINGS
    assert {f.level for f in done.findings[:150]} == {Level.ERROR}


# --- datasets -------------------------------------------------------------------------------------------------
def test_a_dataset_that_is_still_inspected_is_pending(world: World) -> None:
    world.dataset_runner.when_inspecting = None
    world.push({**PICTURES, "new.jpg": b"1", "new.txt": b"x"}, source="/data/photos")
    done = preflight(world)
    assert statuses(done)["datasets"] == "pending"
    assert done.ok


def test_captions_that_textfile_needs(world: World) -> None:
    world.push({"a.jpg": b"1", "a.txt": b"x", "b.jpg": b"2", "c.png": b"3"}, source="/data/photos")
    finding = the(preflight(world), "captions_missing")
    assert (finding.level, finding.count, finding.paths) == (Level.WARNING, 2, ("b.jpg", "c.png"))
    world.push({"a.jpg": b"1", "b.jpg": b"2"}, source="/data/photos")
    done = preflight(world)
    assert the(done, "captions_missing").level is Level.ERROR
    assert not done.ok
    named = [{**DATALOADER[0], "caption_strategy": "filename"}]
    assert "captions_missing" not in codes(preflight(world, dataloader_config=named))


@pytest.mark.parametrize(
    ("files", "level", "count"),
    [
        ({"a.jpg": b"1", "a.TXT": b"a", "b.jpg": b"2", "b.txt": b"b"}, Level.ERROR, 1),
        ({"a.jpg": b"1", "a.Txt": b"a", "b.jpg": b"2", "b.TXT": b"b"}, Level.ERROR, 2),
        ({"a.jpg": b"1", "a.txt": b"a", "a.TXT": b"a", "z.TXT": b"z"}, Level.WARNING, 2),
    ],
)
def test_the_trainer_reads_captions_named_in_small_letters_only(
    world: World, files: dict[str, bytes], level: Level, count: int
) -> None:
    world.push(files, source="/data/photos")
    again = {"level": "error", "code": "caption_suffix", "message": "m", "advice": "a", "count": 1, "paths": []}
    inspected(world, facts=facts(len(files) // 2), findings=[again])
    finding = the(preflight(world), "caption_suffix")
    assert (finding.level, finding.count) == (level, count)
    if level is Level.ERROR:
        with pytest.raises(ValidationFailed) as caught:
            world.submit(config=GOOD, accept_warnings=True)
        assert "caption_suffix" in {e.code for e in caught.value.errors}


def test_a_dataset_without_pictures_is_an_error_for_submit_too(world: World) -> None:
    world.push({"notes.md": b"#", "a.txt": b"a"}, source="/data/photos")
    done = preflight(world)
    assert (done.ok, the(done, "no_media").level) == (False, Level.ERROR)
    assert "captions_missing" not in codes(done)
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD, accept_warnings=True)
    assert caught.value.code == "no_media"


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("a.mp4", "image", True),
        ("a.mp4", "video", False),
        ("a.jpg", "video", True),
        ("a.jpg", "audio", True),
        ("a.wav", "audio", False),
        ("a.jpg", "conditioning", False),
        ("a.wav", "eval", True),
    ],
)
def test_the_media_are_those_of_the_entrys_kind(world: World, name: str, kind: str, found: bool) -> None:
    world.push({name: b"1", "a.txt": b"a"}, source="/data/photos")
    done = preflight(world, dataloader_config=[{**DATALOADER[0], "dataset_type": kind}])
    assert ("no_media" in codes(done)) is found
    if found:
        assert the(done, "no_media").field.endswith("dataset_type")


def test_without_a_list_of_names_the_inspection_counts(world: World) -> None:
    empty = facts().model_copy(update={"counts": Counts(files=3)})
    inspected(world, facts=empty, findings=[])
    version = world.ports.datasets.get_version(OWNER, "photos", latest(world))
    assert version is not None
    world.dataset_files.put(version.manifest_key, b"no list")
    assert the(preflight(world), "no_media").level is Level.ERROR


def test_a_name_and_a_folder_that_mean_two_datasets(world: World) -> None:
    world.push(PICTURES, dataset_id="cats", source="/data/cats")
    entry = {**DATALOADER[0], "instance_data_dir": "/data/cats/"}
    finding = the(preflight(world, dataloader_config=[entry]), "id_and_folder_differ")
    assert (finding.level, finding.field) == (Level.WARNING, "dataloader_config.0.instance_data_dir")
    assert finding.message.endswith(
        "its id names the dataset 'photos', and its folder was pushed as 'cats'. 'photos' is used."
    )
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD, dataloader_config=[entry])
    assert caught.value.code == "warnings_not_accepted"
    for meant in (
        {**entry, "dataset_id": "photos"},
        {**entry, "dataset_id": "cats"},
        {**entry, "id": "cats"},
        {**entry, "id": "others"},
        {**entry, "instance_data_dir": "/never/pushed"},
        DATALOADER[0],
    ):
        assert "id_and_folder_differ" not in codes(preflight(world, dataloader_config=[meant]))


def test_a_table_must_lie_in_the_dataset(world: World) -> None:
    world.push({**PICTURES, "meta/t.parquet": b"PAR1"}, source="/data/photos")
    entry = {**DATALOADER[0], "caption_strategy": "parquet", "metadata_backend": "parquet"}
    there = [{**entry, "parquet": {"path": "/data/photos/meta/t.parquet"}}]
    assert "table_missing" not in codes(preflight(world, dataloader_config=there))
    for path in ("/data/photos/t.parquet", "/elsewhere/meta/t.parquet"):
        done = preflight(world, dataloader_config=[{**entry, "parquet": {"path": path}}])
        assert the(done, "table_missing").field == "dataloader_config.0.parquet.path"


def test_the_trainer_may_delete_nothing(world: World) -> None:
    done = preflight(world, config={**GOOD, "delete_unwanted_images": "true"})
    assert the(done, "deletes_files").level is Level.WARNING


def test_what_the_inspection_found_counts(world: World) -> None:
    broken = {"level": "error", "code": "image_unreadable", "message": "2 can't be read.", "advice": "Remove them."}
    noted = {"level": "note", "code": "duplicates", "message": "m", "advice": "a"}
    inspected(world, facts=facts(), findings=[{**broken, "count": 2, "paths": ["1.jpg", "2.jpg"]}, noted])
    done = preflight(world)
    finding = the(done, "image_unreadable")
    assert (done.ok, finding.paths, finding.count) == (False, ("1.jpg", "2.jpg"), 2)
    assert "stcloud datasets check photos" in finding.advice
    assert "duplicates" not in codes(done)
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD)
    assert caught.value.code == "image_unreadable"


def test_sizes_are_held_against_the_entrys_settings(world: World) -> None:
    inspected(world, facts=facts(side=256, over_t5_long=3, longest_tokens=900), findings=[])
    done = preflight(world)
    assert the(done, "images_too_small").level is Level.WARNING
    assert the(done, "captions_too_long").level is Level.WARNING
    small = [{**DATALOADER[0], "resolution": 256}]
    assert "images_too_small" not in codes(preflight(world, dataloader_config=small))
    batch = preflight(world, config={**GOOD, "--train_batch_size": 16})
    assert {"buckets_too_small", "fewer_than_batch"} <= set(codes(batch, Level.ERROR))


def test_the_sandbox_minds_neither_size_nor_number(world: World) -> None:
    inspected(world, facts=facts(images=3, side=64), findings=[])
    sandbox = PreflightService(world.ports, on_sandbox=True)
    done = preflight(world, service=sandbox, config={**GOOD, "--train_batch_size": 8})
    assert done.ok
    assert codes(done, Level.WARNING) == []
    assert {"images_too_small", "buckets_too_small", "fewer_than_batch"} <= set(codes(done, Level.NOTE))
    told = "On a GPU this is an error; the sandbox's toy model does not mind."
    assert the(done, "fewer_than_batch").message.endswith(told)
    assert "On a GPU this is a warning" in the(done, "images_too_small").message
    assert statuses(done)["model"] == "skipped"
    world.push({"notes.md": b"#"}, source="/data/photos")
    assert not preflight(world, service=sandbox).ok


def test_images_below_the_minimum_are_not_counted(world: World) -> None:
    inspected(world, facts=facts(side=256), findings=[])
    entry = {**DATALOADER[0], "minimum_image_size": 512}
    done = preflight(world, dataloader_config=[entry])
    assert the(done, "images_below_minimum").level is Level.ERROR
    assert "passes" not in codes(done)
    assert not {"images_too_small", "buckets_too_small"} & set(codes(done))
    wrong = preflight(world, dataloader_config=[{**entry, "resolution_type": "area", "resolution": 1.0}])
    assert the(wrong, "wrong_unit").level is Level.ERROR
    assert "images_below_minimum" not in codes(wrong)


def test_a_batch_that_is_no_number_is_told_of_once(world: World) -> None:
    inspected(world, facts=facts(images=1), findings=[])
    for config, entry in (({"--train_batch_size": "two"}, {}), ({}, {"train_batch_size": 0})):
        done = preflight(world, config={**GOOD, **config}, dataloader_config=[{**DATALOADER[0], **entry}])
        assert codes(done, Level.ERROR) == ["wrong_type" if config else "out_of_range"]
        assert not {"fewer_than_batch", "buckets_too_small"} & set(codes(done))


def test_a_resolution_that_can_not_be_is_an_error_and_no_defect(world: World) -> None:
    for kind in ("pixel", "area", "pixel_area"):
        entry = {**DATALOADER[0], "resolution": -1, "resolution_type": kind}
        assert codes(preflight(world, dataloader_config=[entry]), Level.ERROR) == ["out_of_range"]


def test_where_the_model_goes_is_told_once(world: World) -> None:
    wishes = {"--push_to_hub": True, "--hub_model_id": "me/x", "--hub_token": "{env:HF_TOKEN}"}
    with_credentials(world)
    done = preflight(world, config={**GOOD, **wishes})
    about_it = [f for f in done.findings if "hub" in f.message or "huggingface" in f.message]
    assert [f.code for f in about_it] == ["will_be_delivered", "destination_checked"]
    assert about_it[0].message.startswith("The model is sent to huggingface:me/x by this service")
    job = world.submit(config={**GOOD, **wishes}).job
    given = world.jobs.get_input(job.job_id)
    assert given is not None
    assert not {"push_to_hub", "hub_model_id", "hub_token"} & given.config.keys()


def test_advice_is_given_once(world: World) -> None:
    done = preflight(
        world,
        config={**GOOD, "--wandb_api_key": "x"},
        dataloader_config=[{**DATALOADER[0], "id": "nowhere", "instance_data_dir": "/x"}],
        hardware_profile="toaster",
    )
    unresolved = the(done, "dataset_unresolved")
    assert (unresolved.message.count("stcloud"), unresolved.advice) == (0, "Run: stcloud datasets push /x")
    secret = the(done, "secret_in_config")
    assert "emove" not in secret.message
    assert secret.advice.startswith("Remove it")
    assert next(f for f in done.findings if f.field == "hardware_profile").advice.startswith("Valid profiles: ")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"findings": 5}', b'{"facts": {"counts": 1}}', b"\xff"])
def test_a_report_that_can_not_be_read_has_not_passed(world: World, data: bytes) -> None:
    inspected(world, facts=None, findings=[])
    world.dataset_files.put("_reports/x.json", data)
    done = preflight(world)
    assert (done.ok, statuses(done)["datasets"]) == (True, "skipped")


def latest(world: World) -> str:
    dataset = world.ports.datasets.get_dataset(OWNER, "photos")
    return (dataset and dataset.latest_version) or ""


# --- submit ---------------------------------------------------------------------------------------------------
WARNED = {**GOOD, "--report_to": "wandb"}


def test_warnings_hold_a_submit_up_until_they_are_accepted(world: World) -> None:
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=WARNED, key="once")
    refusal = caught.value
    assert (refusal.status, refusal.code) == (422, "warnings_not_accepted")
    assert [e.code for e in refusal.errors] == ["tracker_without_key"]
    assert refusal.extra["findings"][0]["code"] == "tracker_without_key"
    assert not world.jobs.slot_holders(OWNER)
    done = world.submit(config=WARNED, key="once", accept_warnings=True)
    assert [w.code for w in done.warnings] == ["tracker_without_key"]
    assert "job.warning_accepted" in world.event_types(done.job.job_id)
    again = world.submit(config=WARNED, key="once")
    assert (again.idempotent_hit, again.job.job_id) == (True, done.job.job_id)


def test_what_preflight_warns_of_submit_lists_when_it_is_accepted(world: World) -> None:
    entries = [DATALOADER[0] | {"repeat": 2}, {"id": "mine", "type": "aws"}]
    warned = preflight(world, config=WARNED, dataloader_config=entries)
    shared = [f.code for f in warned.findings if f.level is Level.WARNING and f.check not in {"model", "time"}]
    assert set(shared) == {"tracker_without_key", "unknown_key", "bucket_incomplete", "bucket_without_keys"}
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=WARNED, dataloader_config=entries)
    assert [e.code for e in caught.value.errors] == shared
    done = world.submit(config=WARNED, dataloader_config=entries, accept_warnings=True)
    assert [w.code for w in done.warnings] == shared


def test_errors_can_not_be_accepted(world: World) -> None:
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config={**GOOD, "--lr_warmup_steps": 500}, accept_warnings=True)
    assert caught.value.code == "warmup_exceeds_steps"
    assert caught.value.errors[0].field == "config.lr_warmup_steps"


def test_notes_are_kept_with_the_job(world: World) -> None:
    job = world.submit(config={**GOOD, "--lora_alpha": 1}).job
    noted = [e for e in world.jobs.events(job.job_id, limit=50) if e.type == "job.note"]
    assert all(e.message == e.message.strip() for e in noted)
    assert "alpha_differs" in [e.data["code"] for e in noted]


def test_submit_asks_nobody_outside(world: World) -> None:
    world.submit(config=GOOD)
    assert world.hub.looks == []
    assert "validate" not in world.provider.calls


def test_a_repeat_is_answered_before_any_check(world: World) -> None:
    first = world.submit(config=GOOD, key="k")
    blind = PreflightService(replace(world.ports, dataset_files=None))  # type: ignore[arg-type]
    request = SubmitRequest.model_validate({"config": GOOD, "dataloader_config": DATALOADER})
    service = SubmissionService(world.ports, blind)
    again = service.submit(ME, request, provider_name="replicate", idempotency_key="k")
    assert again.job.job_id == first.job.job_id


def test_credentials_outlive_every_run_that_can_be_asked_for(world: World) -> None:
    done = preflight(world, max_run_seconds=34 * 3600)
    assert "outlives_credentials" not in codes(done)
