"""The contract with the trainer: what is refused, what is changed and said, what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.launch_payload import S3Location, index_keys, launch_dataloader, launch_inputs
from chalicelib.domain.trainer import (
    check_submission,
    fitting_interval,
    prepare_config,
    undash,
)

ENTRY = {"id": "photos", "type": "local", "instance_data_dir": "/data/photos", "caption_strategy": "textfile"}
CONFIG = {"--model_family": "flux", "--model_type": "lora", "--max_train_steps": 1000, "--lora_rank": 16}
S3 = S3Location("data", "o/photos/v-1/", "http://s3", "us-east-1", "AKID", "SECRET", "SESSION")
OUT = S3Location("out", "o/j1/artifacts/", "http://s3", "us-east-1", "AKID", "SECRET", "SESSION")


def codes(config: dict[str, Any], dataloader: list[dict[str, Any]]) -> list[str]:
    return [p.code for p in check_submission(config, dataloader)]


def test_a_good_config_has_no_problems() -> None:
    assert codes(CONFIG, [ENTRY]) == []


def test_keys_come_with_and_without_dashes() -> None:
    assert undash({"--model_family": "flux", "lora-rank": 1, "--lora-alpha": 2})[0] == {
        "model_family": "flux",
        "lora-rank": 1,
        "lora_alpha": 2,
    }


def test_the_same_option_twice_with_two_values_is_refused() -> None:
    assert "duplicate" in codes({**CONFIG, "model_family": "sdxl"}, [ENTRY])
    assert codes({**CONFIG, "model_family": "flux"}, [ENTRY]) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"hub_token": "abc"},
        {"--hf_token": "x"},
        {"wandb_api_key": "x"},
        {"aws_secret_access_key": "x"},
        {"publishing_config": [{"provider": "s3", "access_key": "a", "secret_key": "b"}]},
        {"note": "use hf_abcdefghijklmnopqrstuvwxyz"},
        {"note": "AKIAIOSFODNN7EXAMPLE"},
        {"validation_prompt_library": {"a": ["r8_abcdefghijklmnopqrstuvwxyz0123"]}},
        {"repo": "https://user:pass@example.com/x"},
        {"pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"},
    ],
)
def test_a_config_with_a_secret_is_refused_without_repeating_it(bad: dict[str, Any]) -> None:
    problems = check_submission({**CONFIG, **bad}, [ENTRY])
    assert {p.code for p in problems} == {"secret_in_config"}
    for value in json.dumps(bad).split('"'):
        if len(value) > 12 and not value.startswith(("publishing", "validation", "aws_", "wandb")):
            assert all(value not in p.message for p in problems)


def test_a_dataloader_entry_with_keys_of_its_own_is_refused() -> None:
    entry = {**ENTRY, "type": "aws", "aws_access_key_id": "AKIA", "aws_secret_access_key": "s"}
    problems = check_submission(CONFIG, [entry])
    assert [p.field for p in problems] == [
        "dataloader_config.0.aws_secret_access_key",
        "dataloader_config.0.aws_access_key_id",
    ] or {p.field for p in problems} == {
        "dataloader_config.0.aws_secret_access_key",
        "dataloader_config.0.aws_access_key_id",
    }


@pytest.mark.parametrize(
    "fine", [{"tokenizer_max_length": 77}, {"hub_token": ""}, {"hub_token": None}, {"token": False}]
)
def test_options_that_only_sound_secret_pass(fine: dict[str, Any]) -> None:
    assert codes({**CONFIG, **fine}, [ENTRY]) == []


@pytest.mark.parametrize(
    ("dataloader", "code"),
    [
        ([], "no_dataset"),
        ([{"id": "t", "dataset_type": "text_embeds"}], "no_dataset"),
        ([{**ENTRY, "disabled": True}], "no_dataset"),
        ([{k: v for k, v in ENTRY.items() if k != "id"}], "missing"),
        ([ENTRY, ENTRY], "duplicate"),
        ([{**ENTRY, "id": f"d{i}"} for i in range(9)], "too_many_entries"),
        ([{"id": f"d{i}", "type": "huggingface"} for i in range(51)], "too_many_entries"),
        ([{**ENTRY, "id": "a/b"}], "invalid"),
        ([{**ENTRY, "id": ".."}], "invalid"),
        ([{**ENTRY, "id": "a\n"}], "invalid"),
        ([{**ENTRY, "id": "é" * 51}], "invalid"),
        ([{**ENTRY, "cache_file_suffix": "x" * 101}], "invalid"),
        ([{**ENTRY, "cache_file_suffix": 7}], "invalid"),
        ([{**ENTRY, "type": ["local"]}], "invalid"),
        ([{**ENTRY, "dataset_type": {"image": 1}}], "invalid"),
    ],
)
def test_dataloader_problems(dataloader: list[dict[str, Any]], code: str) -> None:
    assert code in codes(CONFIG, dataloader)


def test_a_submission_without_a_dataset_names_the_command_that_saves_one() -> None:
    (problem,) = check_submission(CONFIG, [])
    assert "stcloud configs push NAME config.json --dataloader multidatabackend.json" in problem.text


def test_a_huge_config_is_refused_before_it_is_read() -> None:
    assert codes({**CONFIG, "x": "y" * 200_000}, [ENTRY]) == ["too_large"]


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_the_interval_always_falls_on_the_last_step(steps: int, wanted: int) -> None:
    interval = fitting_interval(steps, wanted)
    assert steps % interval == 0
    assert 3 * interval >= min(wanted, steps)


@pytest.mark.parametrize(
    ("steps", "wanted", "interval"),
    [(1000, 500, 500), (1000, 300, 250), (997, 500, 997), (200, 500, 200), (1000, 1, 1)],
)
def test_the_interval_stays_close_to_the_wish(steps: int, wanted: int, interval: int) -> None:
    assert fitting_interval(steps, wanted) == interval


def test_epochs_become_zero_when_steps_are_set() -> None:
    prepared, problems = prepare_config({**CONFIG, "num_train_epochs": 3})
    assert problems == []
    assert prepared is not None
    assert prepared.config["num_train_epochs"] == 0
    assert any("num_train_epochs" in note for note in prepared.adjustments)


@pytest.mark.parametrize("steps", [None, 0, "", "many", -5, 1.5, True, 10**12, 10**400, "nan", "inf", "-inf"])
def test_steps_must_be_known(steps: object) -> None:
    prepared, problems = prepare_config({"model_family": "flux", "max_train_steps": steps})
    assert prepared is None
    assert [p.field for p in problems] == ["config.max_train_steps"]


@pytest.mark.parametrize("key", ["checkpointing_steps", "validation_step_interval"])
@pytest.mark.parametrize("value", ["nan", float("inf"), "often", [100], True])
def test_an_interval_that_is_no_number_is_refused(key: str, value: object) -> None:
    prepared, problems = prepare_config({"model_family": "flux", "max_train_steps": 100, key: value})
    assert prepared is None
    assert [(p.field, p.code) for p in problems] == [(f"config.{key}", "invalid")]


def test_a_model_family_is_a_text() -> None:
    assert [p.field for p in prepare_config({"model_family": ["flux"], "max_train_steps": 1})[1]] == [
        "config.model_family"
    ]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"max_train_steps": 0}, "out_of_range"),
        ({"max_train_steps": -5}, "invalid"),
        ({"max_train_steps": 0, "num_train_epochs": 3}, "missing"),
        ({"max_train_steps": None}, "missing"),
    ],
)
def test_steps_are_from_one_and_have_to_be_known(config: dict[str, Any], code: str) -> None:
    (problem,) = prepare_config({"model_family": "flux", **config})[1]
    assert problem.code == code
    assert ("from 1 to" in problem.message) == (code != "missing")


def test_what_the_trainer_must_not_get_is_left_out_and_said() -> None:
    prepared, _ = prepare_config({**CONFIG, "push_to_hub": True, "hub_model_id": "me/x", "--data_backend_config": "a"})
    assert prepared is not None
    assert not {"push_to_hub", "hub_model_id", "data_backend_config"} & prepared.config.keys()
    (left_out,) = [n for n in prepared.adjustments if "left out" in n]
    assert left_out.startswith("push_to_hub and hub_model_id were left out: ")


def test_validation_is_made_to_happen() -> None:
    prepared, _ = prepare_config({**CONFIG, "validation_disable": "true", "validation_steps": 400})
    assert prepared is not None
    assert prepared.config["validation_prompt"]
    assert "validation_disable" not in prepared.config
    assert prepared.config["validation_step_interval"] == 500 or 1000 % prepared.config["validation_step_interval"] == 0


def test_local_entries_become_s3_entries_that_write_elsewhere() -> None:
    entries = launch_dataloader([ENTRY, {"id": "hf", "type": "huggingface"}], {"photos": S3}, "_scratch/o/j1/")
    photos = entries[0]
    assert photos["type"] == "aws"
    assert photos["aws_data_prefix"] == "o/photos/v-1/"
    assert photos["aws_session_token"] == "SESSION"
    assert photos["instance_data_dir"].startswith("_scratch/o/j1/")
    assert photos["caption_strategy"] == "textfile"
    assert entries[1] == {"id": "hf", "type": "huggingface"}
    by_id = {e["id"]: e for e in entries}
    assert by_id[photos["image_embeds"]]["type"] == "local"
    assert any(e.get("dataset_type") == "text_embeds" and e.get("default") for e in entries)


def test_the_users_own_caches_are_kept() -> None:
    text = {"id": "t", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "c"}
    entries = launch_dataloader([{**ENTRY, "image_embeds": "mine"}, text], {"photos": S3}, "_scratch/o/j1/")
    assert [e["id"] for e in entries] == ["photos", "t"]
    assert entries[0]["image_embeds"] == "mine"


def test_inputs_hold_only_what_the_cog_declares() -> None:
    prepared, _ = prepare_config(CONFIG)
    assert prepared is not None
    inputs = launch_inputs(prepared.config, [ENTRY], output=OUT, job_id="j1", run_name="run")
    declared = {"config_json", "dataloader_json", "max_train_steps", "return_logs", "s3_bucket", "hf_token"}
    assert inputs.keys() <= declared
    config = json.loads(inputs["config_json"])
    assert config["publishing_config"][0]["base_path"] == "o/j1/artifacts"
    assert config["publishing_config"][0]["session_token"] == "SESSION"
    assert config["output_dir"] == "output/j1"
    assert isinstance(inputs["dataloader_json"], str)


def test_the_indices_that_the_trainer_looks_for_are_named_as_it_names_them() -> None:
    other = {**ENTRY, "id": "more", "cache_file_suffix": "v2"}
    keys = index_keys([ENTRY, other, {"id": "hf", "type": "huggingface"}], {"photos": S3, "more": S3}, "_scratch/o/j1/")
    assert keys == [
        "_scratch/o/j1/photos/aspect_ratio_bucket_indices_photos.json",
        "_scratch/o/j1/photos/aspect_ratio_bucket_metadata_photos.json",
        "_scratch/o/j1/more/aspect_ratio_bucket_indices_v2.json",
        "_scratch/o/j1/more/aspect_ratio_bucket_metadata_v2.json",
    ]


def test_a_location_is_shown_without_its_credentials() -> None:
    where = S3Location("bucket", "me/photos/v-1/", "https://s3.test", "us-east-1", "AKIA1", "secret2", "token3")
    assert "me/photos/v-1/" in repr(where)
    assert not [word for word in ("AKIA1", "secret2", "token3") if word in repr(where)]
