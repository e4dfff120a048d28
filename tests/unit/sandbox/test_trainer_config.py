"""The config is read with SimpleTuner's defaults, spellings and refusals."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from chalicelib.domain.trainer import prepare_config
from local.sandbox.trainer.config import merge, parse


def test_defaults_are_simpletuners() -> None:
    config = parse({"model_family": "flux"})
    assert (config.epochs, config.max_steps) == (1, 0)
    assert (config.rank, config.alpha, config.batch_size, config.rate) == (16, 16.0, 4, 4e-7)
    assert (config.checkpoint_every, config.validate_every, config.checkpoints_kept) == (500, 100, 5)
    assert config.prompt is None
    assert config.publishing == ()


def test_keys_come_with_and_without_dashes() -> None:
    merged = merge({"--model_family": "flux", "--lora-rank": 8}, {"--max_train_steps": 5})
    assert merged == {"model_family": "flux", "lora_rank": 8, "max_train_steps": 5}
    assert merge({"seed": 1, "--seed": 2}, {}) == {"seed": 1}
    assert merge({"max_train_steps": 1}, {"max_train_steps": 9})["max_train_steps"] == 9


def test_older_names_of_intervals_count() -> None:
    config = parse({"model_family": "flux", "checkpointing_steps": 25, "validation_steps": "30"})
    assert (config.checkpoint_every, config.validate_every) == (25, 30)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_train_steps": 10}, "--max_train_steps .* --num_train_epochs"),
        ({"num_train_epochs": 0}, "either --max_train_steps or --num_train_epochs"),
        ({"model_family": ""}, "the following arguments are required: --model_family"),
        ({"learning_rate": "fast"}, "argument --learning_rate: invalid float value: 'fast'"),
        ({"learning_rate": float("nan")}, "argument --learning_rate"),
        ({"lora_rank": 0}, "argument --lora_rank"),
        ({"lora_rank": 10**9}, "argument --lora_rank"),
        ({"train_batch_size": True}, "argument --train_batch_size: invalid int value: True"),
        ({"max_train_steps": 1.5, "num_train_epochs": 0}, "argument --max_train_steps: invalid int value"),
        ({"validation_resolution": "0x5"}, "argument --validation_resolution"),
        ({"validation_resolution": "wide"}, "argument --validation_resolution"),
        ({"output_dir": "../elsewhere"}, "argument --output_dir"),
        ({"publishing_config": "{"}, "argument --publishing_config"),
        ({"publishing_config": 5}, "publishing_config must be a dict or list, got int"),
    ],
)
def test_refusals(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse({"model_family": "flux"} | changes)


@pytest.mark.parametrize(
    ("asked", "got"),
    [("output/job_1", "output/job_1"), ("/outputs/x/", "outputs/x"), (None, "output"), ("./a/./b", "a/b")],
)
def test_output_stays_in_the_runs_directory(asked: str | None, got: str) -> None:
    assert parse({"model_family": "flux", "output_dir": asked}).output_dir == PurePosixPath(got)


def test_pictures_keep_their_shape_and_stay_small() -> None:
    sides = parse({"model_family": "flux", "validation_resolution": "1024x2048, 256"}).validation_sides
    assert sides == ((256, 512), (256, 256))


def test_validation_can_be_off() -> None:
    assert parse({"model_family": "flux", "validation_disable": "true"}).validate_every == 0


def test_the_products_configs_are_taken_as_they_are() -> None:
    prepared, problems = prepare_config({"--model_family": "flux", "--max_train_steps": 130, "--lora_rank": 8})
    assert prepared is not None
    assert not problems
    config = parse(merge(prepared.config, {}))
    assert config.max_steps == 130
    assert config.max_steps % config.checkpoint_every == config.max_steps % config.validate_every == 0
    assert config.prompt
