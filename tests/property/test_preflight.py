"""Whatever JSON somebody checks: preflight never fails, and what it lets pass submit does not refuse."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.domain.check_results import Level
from chalicelib.domain.simpletuner_options import options
from chalicelib.errors import AppError
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.preflight_checks import WENT_WRONG
from tests.fakes.world import CONFIG, DATALOADER, ME, World
from tests.property.test_submissions import JSON, TEXTS
from tests.unit.services.checked import facts, good_world, inspected

KEYS = st.sampled_from(sorted(options().options)) | st.sampled_from(
    [
        *("model_family", "model_type", "lora_type", "lycoris_config", "optimizer", "mixed_precision", "report_to"),
        *("train_batch_size", "gradient_accumulation_steps", "lr_warmup_steps", "controlnet", "push_to_hub"),
        *("pretrained_model_name_or_path", "validation_step_interval", "learning_rate", "lora_rank", "lora_alpha"),
    ]
)
VALUES = JSON | st.sampled_from(
    [
        *("flux", "lora", "full", "lycoris", "{", '{"algo": 1}', "true", "pixel_area", "area", "1e-4", "²"),
        "",
        *(0.5, -1, 10**18, 1e200, 1e305, -0.0, 10**400, "1" * 200, float("nan"), float("inf"), float("-inf")),
    ]
)
FIELDS = st.sampled_from(
    [
        *(
            "id",
            "type",
            "dataset_type",
            "disabled",
            "disable",
            "dataset_id",
            "caption_strategy",
            "instance_prompt",
            "repeats",
        ),
        *("instance_data_dir", "image_embeds", "text_embeds", "conditioning_data", "conditioning", "cache_dir_vae"),
        *("parquet", "metadata_backend", "video", "crop", "crop_aspect", "crop_aspect_buckets", "resolution"),
        *("resolution_type", "maximum_image_size", "target_downsample_size", "train_batch_size", "probability"),
        *("huggingface", "dataset_name", "webshart", "aws_data_prefix", "is_regularisation_data", "default"),
        *("repeat", "csv_file", "learning_rate", "vae_batch_size", "instance_data_root"),
        *("minimum_image_size", "prepend_instance_prompt", "delete_unwanted_images", "source_dataset_id"),
    ]
)
WORDS = st.sampled_from(
    [
        *("photos", "local", "aws", "csv", "huggingface", "webshart", "memory", "image", "video", "conditioning"),
        *("text_embeds", "image_embeds", "textfile", "parquet", "instanceprompt", "square", "random", "owner/name"),
    ]
)
ENTRIES = st.dictionaries(FIELDS | TEXTS, VALUES | WORDS, max_size=7)
NEAR = st.builds(lambda more: {**DATALOADER[0], **more}, ENTRIES)
CONFIGS = st.dictionaries(KEYS | TEXTS, VALUES, max_size=6)
NEARLY = st.builds(lambda more: {**CONFIG, **more}, CONFIGS)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "config": CONFIGS | NEARLY,
        "dataloader_config": st.lists(ENTRIES | NEAR, max_size=3),
        "hardware_profile": st.sampled_from(["h100", "l40s", "x"]),
        "max_run_seconds": st.integers(300, 34 * 3600),
        "config_name_to_load": st.sampled_from(["mine", "nowhere"]),
    },
)


def world_with_photos() -> World:
    """Inspected, so that sizes are reckoned with."""
    world = good_world()
    inspected(world, facts=facts(), findings=[])
    return world


@settings(derandomize=True, max_examples=300, deadline=None)
@given(BODIES)
@example({"config": CONFIG, "dataloader_config": [{**DATALOADER[0], "crop_aspect_buckets": [{"a": 1}, True]}]})
@example({"config": {**CONFIG, "lycoris_config": "{" * 2000, "lora_type": "lycoris"}, "dataloader_config": DATALOADER})
@example({"config": CONFIG, "dataloader_config": [{**DATALOADER[0], "resolution": -1, "resolution_type": "area"}]})
@example({"config": {**CONFIG, "train_batch_size": 10**18}, "dataloader_config": DATALOADER})
@example({"config": CONFIG, "dataloader_config": [DATALOADER[0], {**DATALOADER[0], "id": "x", "type": ""}]})
@example({"config": CONFIG, "dataloader_config": [DATALOADER[0], {"id": "x", "disable": True}]})
@example({"config": CONFIG, "dataloader_config": [DATALOADER[0], {"id": "x", "disabled": "false"}]})
def test_preflight_never_fails_and_submit_agrees(body: dict[str, Any]) -> None:
    agree(body)


def agree(body: dict[str, Any]) -> None:
    world = world_with_photos()
    request = SubmitRequest.model_validate({"config": CONFIG, "dataloader_config": DATALOADER, **body})
    done = world.services.preflight.check(ME, request, "replicate")
    assert not [c for c in done.checks if c.reason == WENT_WRONG]
    assert done.ok == (not [f for f in done.findings if f.level is Level.ERROR])
    for finding in done.findings:
        assert finding.message
        assert finding.advice or finding.level is Level.NOTE
        assert finding.code
    assert not world.jobs.slot_holders(ME.owner)
    accepting = request.model_copy(update={"accept_warnings": True})
    refusal: AppError | None = None
    try:
        world.services.submission.submit(ME, accepting, provider_name="replicate")
    except AppError as refused:
        refusal = refused
    assert done.ok == (refusal is None), refusal


ODD = (1e200, 1e305, -1e305, -0.0, 5e-324, 10**400, int("1" * 200), "1" * 200, "1e305", float("nan"), float("inf"))
NUMBERS_OF_CONFIGS = (
    *("resolution", "train_batch_size", "gradient_accumulation_steps", "max_train_steps", "num_train_epochs"),
    *("learning_rate", "lora_rank", "lora_alpha", "lr_warmup_steps", "validation_step_interval", "minimum_image_size"),
    *("checkpoint_step_interval", "maximum_image_size", "target_downsample_size", "resolution_type", "seed"),
)
NUMBERS_OF_ENTRIES = (
    *("resolution", "repeats", "minimum_image_size", "maximum_image_size", "target_downsample_size", "probability"),
    *("train_batch_size", "vae_batch_size", "crop_aspect_buckets", "type", "disable", "disabled", "video"),
)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NUMBERS_OF_CONFIGS), st.sampled_from(ODD), max_size=3),
    st.dictionaries(st.sampled_from(NUMBERS_OF_ENTRIES), st.sampled_from(ODD), max_size=3),
    st.sampled_from(["pixel", "area", "pixel_area"]),
    st.sampled_from(["square", "preserve", "closest", "random"]),
    st.lists(st.sampled_from((*ODD, -1, 0, 1)), max_size=2),
)
@example({"resolution": 1e200}, {}, "pixel_area", "square", [])
@example({}, {"resolution": 1e305}, "area", "square", [])
@example({}, {"minimum_image_size": 1e200}, "pixel_area", "square", [])
@example({}, {"repeats": 1e300}, "pixel_area", "closest", [-1])
@example({"train_batch_size": 10**400}, {"resolution": int("1" * 200)}, "pixel", "preserve", [])
def test_numbers_beyond_all_measure_are_findings(
    config: dict[str, Any], entry: dict[str, Any], unit: str, crop: str, aspects: list[Any]
) -> None:
    crops = {"resolution_type": unit, "crop": True, "crop_aspect": crop, "crop_aspect_buckets": aspects}
    body = {"config": {**CONFIG, **config}, "dataloader_config": [{**DATALOADER[0], **crops, **entry}]}
    agree(body)
