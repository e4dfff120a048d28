"""Options of a run: names, types, choices, and the rules between them; the arithmetic of steps and data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.check_results import CheckStatus, Finding, Level, in_order, result_of
from chalicelib.domain.entry_checks import Entry
from chalicelib.domain.option_checks import check_options
from chalicelib.domain.run_checks import check_run
from chalicelib.domain.run_length import (
    Media,
    PastRun,
    check_length,
    counts_make_sense,
    dollars,
    gpus_of,
    guess,
    length_of,
)
from chalicelib.domain.simpletuner_options import closest, options

KNOWN = options()
LORA = {"model_family": "flux", "model_type": "lora", "lora_rank": 16}


def optional(**config: Any) -> list[tuple[str, str, str]]:
    return [(f.level.value, f.code, f.field) for f in check_options(config, KNOWN)]


def rules(steps: int = 1000, **config: Any) -> list[tuple[str, str]]:
    return [(f.level.value, f.code) for f in check_run({**LORA, **config}, steps, KNOWN)]


# --- names, types, choices ------------------------------------------------------------------------------------
def test_the_release_is_known_with_its_families() -> None:
    assert KNOWN.version == "4.10.1"
    assert len(KNOWN.options) > 500
    assert KNOWN.options["lr_scheduler"].default is not None
    assert KNOWN.base_model("flux", "dev") == "black-forest-labs/flux.1-dev"
    assert KNOWN.base_model("FLUX", None) == "black-forest-labs/flux.1-krea-dev"
    assert KNOWN.base_model("flux", "nowhere") is None
    assert KNOWN.base_model(["flux"], None) is None
    assert KNOWN.default("nothing") is None


@pytest.mark.parametrize(
    "config",
    [
        {"model_family": "flux", "optimizer": "adamw_bf16", "lr_scheduler": "cosine_with_warmup"},
        {"model_family": "SDXL", "mixed_precision": "bf16", "gradient_checkpointing": "true", "use_ema": False},
        {"lora_rank": "16", "learning_rate": "1e-4", "seed": -1, "lora_dropout": 0.1},
        {"max_train_steps": "1e3", "checkpointing_steps": 5, "validation_steps": 5},
        {"validation_prompt": "", "model_flavour": None, "lora_alpha": "{env:ALPHA}"},
        {"report_to": ["none"], "flow_custom_timesteps": "1,2", "tread_config": {"routes": []}},
    ],
)
def test_what_the_command_line_reads_passes(config: dict[str, Any]) -> None:
    assert optional(**config) == []


@pytest.mark.parametrize(
    ("config", "level", "code"),
    [
        ({"lora_rank": "many"}, "error", "wrong_type"),
        ({"lora_rank": 16.5}, "error", "wrong_type"),
        ({"lora_rank": True}, "error", "wrong_type"),
        ({"learning_rate": "fast"}, "error", "wrong_type"),
        ({"learning_rate": float("nan")}, "error", "wrong_type"),
        ({"gradient_checkpointing": "perhaps"}, "error", "wrong_type"),
        ({"lora_rank": [1, "x"]}, "error", "wrong_type"),
        ({"model_family": "fluxx"}, "warning", "unknown_choice"),
        ({"optimizer": "adamw_bf61"}, "warning", "unknown_choice"),
        ({"mixed_precision": "bf61"}, "warning", "unknown_choice"),
        ({"lerning_rate": 1}, "warning", "unknown_option"),
        ({"instance_data_dir": "/x"}, "warning", "unknown_option"),
        ({"lora_rank": 512}, "note", "unusual_value"),
        ({"train_batch_size": 0}, "error", "out_of_range"),
        ({"train_batch_size": "two"}, "error", "wrong_type"),
        ({"gradient_accumulation_steps": 0}, "error", "out_of_range"),
        ({"learning_rate": 0}, "error", "out_of_range"),
        ({"learning_rate": "-1e-4"}, "error", "out_of_range"),
        ({"learning_rate": float("inf")}, "error", "wrong_type"),
        ({"resolution": -1}, "error", "out_of_range"),
        ({"minimum_image_size": -5}, "error", "out_of_range"),
        ({"caption_dropout_probability": 2}, "error", "out_of_range"),
        ({"lr_warmup_steps": -1}, "error", "out_of_range"),
        ({"repeats": 5}, "note", "option_ignored"),
    ],
)
def test_what_it_does_not_is_found(config: dict[str, Any], level: str, code: str) -> None:
    (name,) = config
    assert optional(**config) == [(level, code, f"config.{name}")]


def test_numbers_of_a_lora_count_for_a_lora_alone() -> None:
    for name, value in (("lora_rank", -4), ("lora_rank", 0), ("lora_alpha", 0), ("lora_dropout", 1.5)):
        assert optional(model_type="lora", **{name: value}) == [("error", "out_of_range", f"config.{name}")]
        assert ("error", "out_of_range", f"config.{name}") not in optional(model_type="full", **{name: value})


def test_a_number_out_of_range_is_told_with_the_range() -> None:
    (finding,) = check_options({"train_batch_size": 0}, KNOWN)
    assert finding.message == "train_batch_size is 0, and must be a whole number from 1 to 100,000."
    assert finding.advice == "Mend it, or leave it out for SimpleTuner's default, 4."
    (finding,) = check_options({"learning_rate": float("nan")}, KNOWN)
    assert finding.message == "learning_rate must be a number above 0."
    (finding,) = check_options({"ema_decay": -1}, KNOWN)
    assert finding.message.endswith("must be a number from 0 to 1.")


def test_a_typing_error_is_told_what_was_meant() -> None:
    (finding,) = check_options({"lerning_rate": 1}, KNOWN)
    assert finding.advice == "Did you mean learning_rate?"
    (finding,) = check_options({"optimizer": "adamw-bf16"}, KNOWN)
    assert finding.advice == "Did you mean adamw_bf16?"
    (finding,) = check_options({"instance_data_dir": 1}, KNOWN)
    assert "dataloader" in finding.advice
    assert closest("zzz", ["learning_rate"]) is None


def test_what_is_no_config_at_all_is_told_of_briefly() -> None:
    found = optional(**{f"nothing_{n}": n for n in range(2000)})
    assert len(found) == 31
    assert found[-1] == ("warning", "unknown_options", "config")


# --- rules across options -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "learning_rate": 1e-4,
            "lora_alpha": 16,
            "base_model_precision": "int8-quanto",
            "validation_step_interval": 100,
        },
        {"model_type": "full", "lora_rank": None, "learning_rate": "1e-6"},
        {"optimizer": "prodigy", "learning_rate": 1.0},
        {
            "lora_type": "lycoris",
            "lycoris_config": {"algo": "lokr", "multiplier": 1, "linear_dim": 4, "linear_alpha": 1},
        },
        {"mixed_precision": "fp8", "base_model_precision": "fp8-torchao"},
        {"model_family": "sd3", "validation_guidance_skip_layers": "[7,8,9]"},
        {"pretrained_model_name_or_path": "Black-Forest-Labs/Flux.1-Dev"},
        {"model_family": "wan", "pretrained_model_name_or_path": "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"},
        {"pretrained_model_name_or_path": "me/flux-of-my-own"},
        {"report_to": "none", "lr_warmup_steps": 1000, "optimizer_beta1": 0.9, "optimizer_beta2": 0.99},
    ],
)
def test_usual_runs_pass(config: dict[str, Any]) -> None:
    assert rules(**config) == []


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "loar", "base_model_precision": "nf4-bnb", "quantization_config": "{}", "learning_rate": 0.01},
        {"model_family": "fluxx", "validation_guidance_skip_layers": "[7]", "pretrained_model_name_or_path": "Qwen/x"},
    ],
)
def test_nothing_follows_from_a_typing_error(config: dict[str, Any]) -> None:
    assert rules(**config) == []


def test_base_models_are_known_with_their_families() -> None:
    assert KNOWN.families_of("black-forest-labs/FLUX.1-dev") == ("flux",)
    assert set(KNOWN.families_of("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")) == {"wan", "infinitetalk"}
    assert KNOWN.families_of("me/mine") == ()
    assert all(family.models for family in KNOWN.families.values())
    (finding,) = check_run(
        {**LORA, "model_family": "sdxl", "pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev"}, 9, KNOWN
    )
    assert "is a model of the family flux, and model_family is sdxl" in finding.message
    assert finding.advice == (
        "Set model_family to flux, or leave pretrained_model_name_or_path out for "
        "stabilityai/stable-diffusion-xl-base-1.0."
    )


@pytest.mark.parametrize(
    ("config", "level", "code"),
    [
        ({"lr_warmup_steps": 1001}, "error", "warmup_exceeds_steps"),
        ({"validation_step_interval": 10}, "warning", "many_validations"),
        ({"model_flavour": "deev"}, "warning", "unknown_choice"),
        ({"validation_guidance_skip_layers": "[7]"}, "error", "invalid"),
        ({"model_type": "full", "quantization_config": "{}", "lora_rank": None}, "error", "invalid"),
        ({"model_type": "full"}, "note", "lora_options_unused"),
        ({"lora_alpha": 8}, "note", "alpha_differs"),
        ({"lora_rank": 128}, "note", "high_rank"),
        ({"lora_type": "lycoris"}, "error", "lycoris_config_missing"),
        ({"lora_type": "lycoris", "lycoris_config": "config/l.json"}, "error", "lycoris_config_unreachable"),
        (
            {"lora_type": "lycoris", "lycoris_config": {"algo": "x", "multiplier": 1, "linear_dim": 1}},
            "error",
            "missing",
        ),
        ({"mixed_precision": "fp8", "base_model_precision": "int8-quanto"}, "error", "precision_conflict"),
        ({"optimizer": "adamw_bf16", "mixed_precision": "fp16"}, "warning", "precision_conflict"),
        (
            {"model_type": "full", "base_model_precision": "nf4-bnb", "lora_rank": None},
            "warning",
            "quantised_full",
        ),
        ({"optimizer_beta1": 0.9}, "error", "invalid"),
        ({"lr_scheduler": "cosine_with_restarts"}, "note", "scheduler_unsteady"),
        ({"pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0"}, "warning", "family_mismatch"),
        ({"pretrained_model_name_or_path": "qwen/qwen-image"}, "warning", "family_mismatch"),
        ({"learning_rate": 5}, "warning", "learning_rate"),
        ({"learning_rate": 0.01}, "note", "learning_rate_unusual"),
        ({"maximum_image_size": 1024}, "error", "missing"),
        ({"resolution_type": "area", "target_downsample_size": 1024}, "error", "wrong_unit"),
        ({"metadata_update_interval": 5}, "error", "invalid"),
        ({"timestep_bias_portion": 1.5}, "error", "invalid"),
        ({"report_to": "wandb"}, "warning", "tracker_without_key"),
    ],
)
def test_each_rule(config: dict[str, Any], level: str, code: str) -> None:
    assert rules(**config) == [(level, code)]


# --- steps × batch × data -------------------------------------------------------------------------------------
def media(count: int, **data: Any) -> Media:
    return Media(Entry(0, {"id": "photos", **data}, {}), count)


def lengths(steps: int, *of: Media, profile: str = "h100", **config: Any) -> list[tuple[str, str]]:
    length = length_of(config, steps, profile, of, KNOWN, whole=True)
    return [(f.level.value, f.code) for f in check_length(length, of)]


def test_passes_are_samples_over_data_with_repeats() -> None:
    length = length_of(
        {"train_batch_size": 2, "gradient_accumulation_steps": "2"},
        100,
        "h100-x4",
        [media(10, repeats=4)],
        KNOWN,
        whole=True,
    )
    assert (length.samples, length.per_pass, length.passes) == (1600, 50, 32.0)
    assert (gpus_of("h100"), gpus_of("l40s-x8")) == (1, 8)
    unknown = length_of({}, 100, "h100", [media(10)], KNOWN, whole=False)
    assert (unknown.passes, unknown.given, unknown.batch) == (None, False, 4)


@pytest.mark.parametrize(
    ("steps", "of", "config", "level", "code"),
    [
        (100, media(20), {"train_batch_size": 1}, "note", "passes"),
        (5000, media(20), {"train_batch_size": 1}, "warning", "too_many_passes"),
        (5000, media(20), {}, "note", "too_many_passes"),
        (10, media(500), {"train_batch_size": 1}, "warning", "not_seen_once"),
        (10, media(20), {"train_batch_size": 1}, "note", "not_seen_once"),
    ],
)
def test_how_often_data_is_seen(steps: int, of: Media, config: dict[str, Any], level: str, code: str) -> None:
    assert lengths(steps, of, **config) == [(level, code)]


def test_fewer_pictures_than_a_batch() -> None:
    assert ("error", "fewer_than_batch") in lengths(10, media(3), train_batch_size=4)
    assert ("error", "fewer_than_batch") in lengths(10, media(3, train_batch_size=4), train_batch_size=1)
    assert ("error", "fewer_than_batch") in lengths(10, media(3), train_batch_size=1, gradient_accumulation_steps=4)
    assert ("error", "fewer_than_batch") in lengths(10, media(3), train_batch_size=1, profile="h100-x4")
    assert ("note", "fewer_than_batch") in lengths(10, media(3))
    assert lengths(10, media(3, repeats=1), train_batch_size=4) == [("note", "passes")]


@pytest.mark.parametrize(
    ("steps", "pictures", "config", "said"),
    [
        (1, 1, {"train_batch_size": 1}, "1 step × 1 = 1 sample, 1 pass over 1 picture."),
        (3, 2, {"train_batch_size": 2}, "3 steps × 2 = 6 samples, 3 passes over 2 pictures."),
        (3, 2, {"train_batch_size": 1}, "3 steps × 1 = 3 samples, 1.5 passes over 2 pictures."),
        (
            1,
            1,
            {"train_batch_size": 2},
            "Dataset 'photos': 1 picture can't fill a batch of 2, and then the trainer refuses to start.",
        ),
    ],
)
def test_one_is_told_as_one(steps: int, pictures: int, config: dict[str, Any], said: str) -> None:
    of = [media(pictures)]
    assert said in [f.message for f in check_length(length_of(config, steps, "h100", of, KNOWN, whole=True), of)]


def test_nothing_is_reckoned_with_a_batch_that_is_none() -> None:
    for batch in ("two", 0, -1, 1.5, True, [2]):
        assert not counts_make_sense({"train_batch_size": batch})
        assert lengths(10, media(3, train_batch_size=batch), train_batch_size=1) == [("note", "passes")]
    assert counts_make_sense({"train_batch_size": "2", "gradient_accumulation_steps": None})
    assert not counts_make_sense({"gradient_accumulation_steps": 0})


def test_time_is_told_from_past_runs_or_by_a_rule_of_thumb() -> None:
    length = length_of({"train_batch_size": 1}, 1000, "h100", [media(20)], KNOWN, whole=True)
    own = guess(length, "h100", 1024, 20, [PastRun(100, 100), PastRun(300, 100), PastRun(200, 100), PastRun(0, 5)])
    assert (own.likely, own.measured) == (2000, True)
    assert own.low < own.likely < own.high
    rule = guess(length, "h100", 1024, 20, [])
    slower = guess(length, "l40s", 1024, 20, [])
    assert not rule.measured
    assert rule.low < rule.likely < rule.high < slower.high
    assert "not measured" in rule.basis
    assert dollars(3600, Decimal("0.001525")) == Decimal("5.49")


# --- results --------------------------------------------------------------------------------------------------
def test_results_and_their_order() -> None:
    error, warning, note = (Finding(level, "c", "k", "f", "m", "a") for level in Level)
    assert in_order([note, warning, error, note]) == [error, warning, note]
    assert result_of("k", [note]).status is CheckStatus.PASSED
    assert result_of("k", [note, warning]).status is CheckStatus.WARNED
    assert result_of("k", [warning, error]).status is CheckStatus.FAILED
