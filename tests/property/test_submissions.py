"""Whatever JSON somebody submits gets problems or a config that can be launched, and never an exception."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.domain.launch_payload import S3Location, index_keys, launch_dataloader, launch_inputs
from chalicelib.domain.trainer import check_submission, needs_upload, prepare_config

TEXTS = st.sampled_from(
    [
        "",
        "local",
        "aws",
        "image",
        "text_embeds",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "10",
        "a/b",
        "..",
        "true",
        "\ud800",
        "\n",
    ]
) | st.text(max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.sampled_from([1, 200, -5]) | TEXTS
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
OPTIONS = st.sampled_from(
    [
        *("model_family", "--model_family", "max_train_steps", "--max_train_steps", "num_train_epochs", "-x", "--"),
        *("checkpointing_steps", "checkpoint_step_interval", "validation_steps", "validation_step_interval"),
        *("validation_disable", "validation_prompt", "publishing_config", "push_to_hub", "checkpoint_epoch_interval"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("id", "type", "dataset_type", "disabled", "dataset_id", "cache_file_suffix"),
        *("instance_data_dir", "image_embeds", "cache_dir_vae"),
    ]
)
CONFIGS = st.dictionaries(OPTIONS | TEXTS, JSON, max_size=6) | st.fixed_dictionaries(
    {"model_family": st.just("flux"), "max_train_steps": st.integers(1, 5000)}, optional={"validation_steps": JSON}
)
DATALOADERS = st.lists(st.dictionaries(FIELDS | TEXTS, JSON, max_size=5), max_size=4) | st.lists(
    st.fixed_dictionaries({"id": TEXTS}, optional={"cache_file_suffix": TEXTS, "dataset_type": TEXTS}), min_size=1
)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(CONFIGS, DATALOADERS)
@example({"model_family": "flux", "max_train_steps": "nan"}, [{"id": "a"}])
@example({"model_family": "flux", "max_train_steps": 10, "checkpointing_steps": float("inf")}, [{"id": "a"}])
@example({"model_family": "flux", "max_train_steps": 10}, [{"id": "a", "dataset_type": ["image"]}])
@example({"model_family": "flux", "max_train_steps": 10}, [{"id": "a", "type": {}}])
@example({"model_family": "flux", "max_train_steps": 10}, [{"id": "a", "cache_file_suffix": [1]}])
def test_a_submission_is_refused_with_reasons_or_can_be_launched(
    config: dict[str, Any], dataloader: list[dict[str, Any]]
) -> None:
    problems = check_submission(config, dataloader)
    prepared, config_problems = prepare_config(config)
    for problem in (*problems, *config_problems):
        assert problem.field
        assert problem.message
        assert problem.code
    assert (prepared is None) == bool(config_problems)
    if problems or prepared is None:
        return
    assert 0 < prepared.max_train_steps == prepared.config["max_train_steps"]
    for key in ("checkpoint_step_interval", "validation_step_interval"):
        assert prepared.max_train_steps % prepared.config[key] == 0
    where = S3Location("bucket", "me/photos/v-1/", "https://s3.test", "us-east-1", "AK", "secret", "token")
    locations = {entry["id"]: where for entry in dataloader if needs_upload(entry)}
    entries = launch_dataloader(dataloader, locations, "_scratch/me/job/")
    inputs = launch_inputs(prepared.config, entries, output=where, job_id="job", run_name="run")
    assert json.loads(inputs["dataloader_json"])
    for key in index_keys(dataloader, locations, "_scratch/me/job/"):
        assert len(key.encode()) < 1024
        assert "/../" not in key
