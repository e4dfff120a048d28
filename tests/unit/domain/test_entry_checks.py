"""Entries of a dataloader: what SimpleTuner would refuse is found here, and what it takes passes."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.check_results import Level
from chalicelib.domain.entry_checks import check_entries, entries_of
from chalicelib.domain.entry_keys import check_keys
from chalicelib.domain.entry_links import check_links
from chalicelib.domain.option_checks import MAX_UNKNOWN
from chalicelib.domain.simpletuner_options import options

LOCAL = {"id": "photos", "type": "local", "instance_data_dir": "/data/photos", "caption_strategy": "textfile"}
HUB = {"id": "hub", "type": "huggingface", "dataset_name": "owner/name"}
CSV = {"id": "list", "type": "csv", "csv_file": "a.csv", "csv_cache_dir": "c", "csv_caption_column": "text"}
BUCKET = {
    "id": "mine",
    "type": "aws",
    "aws_bucket_name": "b",
    "aws_region_name": "auto",
    "aws_endpoint_url": "https://s3.example.com",
    "aws_access_key_id": "{env:AWS_ACCESS_KEY_ID}",
    "aws_secret_access_key": "{env:AWS_SECRET_ACCESS_KEY}",
}
TABLE = {"metadata_backend": "parquet", "caption_strategy": "parquet", "parquet": {"path": "/data/photos/t.parquet"}}
CONDITION = {"id": "edges", "type": "local", "dataset_type": "conditioning", "instance_data_dir": "/data/edges"}
TEXTS = {"id": "texts", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache/text"}


def found(*entries: dict[str, Any], **config: Any) -> list[tuple[str, str, str]]:
    """(level, code, field) of everything that is found."""
    taken = entries_of(config, entries)
    return [(f.level.value, f.code, f.field) for f in [*check_entries(taken), *check_links(config, taken)]]


@pytest.mark.parametrize(
    "entries",
    [
        [LOCAL],
        [HUB],
        [{**HUB, "caption_strategy": "instanceprompt", "instance_prompt": "a cat"}],
        [{"id": "hub", "type": "huggingface", "huggingface": {"dataset_name": "owner/name"}}],
        [BUCKET],
        [{**LOCAL, **TABLE}],
        [{**LOCAL, "caption_strategy": "filename", "repeats": 3, "probability": 0.5, "train_batch_size": "2"}],
        [{**LOCAL, "caption_strategy": "instanceprompt", "instance_prompt": "a cat"}],
        [{**LOCAL, "crop": True, "crop_aspect": "random", "crop_aspect_buckets": [1.0, 0.5]}],
        [{**LOCAL, "resolution": 1.0, "resolution_type": "area"}],
        [{**LOCAL, "conditioning_data": "edges"}, CONDITION],
        [{**LOCAL, "conditioning": [{"type": "canny"}]}],
        [LOCAL, {**LOCAL, "id": "held", "is_regularisation_data": True}],
        [{**LOCAL, "text_embeds": "texts"}, TEXTS],
        [{**LOCAL, "dataset_type": "video", "video": {"num_frames": 25, "min_frames": 25}}],
        [LOCAL, {"id": "off", "type": "nonsense", "disabled": True}],
    ],
    ids=lambda entries: str(entries[0])[:60],
)
def test_what_simpletuner_takes_passes(entries: list[dict[str, Any]]) -> None:
    assert found(*entries, model_type="lora") == []


@pytest.mark.parametrize(
    ("entry", "code", "key"),
    [
        ({"type": "parquet"}, "unknown_type", "type"),
        ({"type": "lokal"}, "unknown_type", "type"),
        ({"dataset_type": "images"}, "unknown_dataset_type", "dataset_type"),
        ({"disable_vae_cache": True}, "option_removed", "disable_vae_cache"),
        ({"type": "huggingface"}, "missing", "dataset_name"),
        ({**HUB, "metadata_backend": "json"}, "invalid", "metadata_backend"),
        ({**HUB, "caption_strategy": "textfile"}, "invalid", "caption_strategy"),
        ({"type": "csv", "csv_file": ""}, "missing", "csv_file"),
        ({**CSV, "caption_strategy": "textfile"}, "invalid", "caption_strategy"),
        ({"type": "webshart"}, "missing", "source"),
        ({"type": "memory"}, "invalid", "type"),
        ({**BUCKET, "aws_data_prefix": 5}, "invalid", "aws_data_prefix"),
        ({"caption_strategy": "textfiles"}, "unknown_caption_strategy", "caption_strategy"),
        ({"caption_strategy": "instanceprompt"}, "instance_prompt_missing", "instance_prompt"),
        ({"prepend_instance_prompt": True}, "instance_prompt_missing", "instance_prompt"),
        ({"caption_strategy": "huggingface"}, "invalid", "caption_strategy"),
        ({"caption_strategy": "parquet", "parquet": {"path": "t"}}, "parquet_backend_missing", "metadata_backend"),
        ({"caption_strategy": "parquet", "metadata_backend": "parquet"}, "missing", "parquet.path"),
        ({"crop_aspect": "sqare"}, "invalid", "crop_aspect"),
        ({"crop_style": "middle"}, "invalid", "crop_style"),
        ({"crop_aspect": "closest"}, "missing", "crop_aspect_buckets"),
        ({"resolution_type": "megapixel"}, "invalid", "resolution_type"),
        ({"resolution": 0.5}, "invalid", "resolution"),
        ({"maximum_image_size": 2048}, "missing", "target_downsample_size"),
        (
            {"resolution_type": "area", "maximum_image_size": 1024, "target_downsample_size": 1},
            "wrong_unit",
            "maximum_image_size",
        ),
        (
            {"resolution_type": "pixel", "maximum_image_size": 1024, "target_downsample_size": 1},
            "wrong_unit",
            "target_downsample_size",
        ),
        ({"repeats": -1}, "out_of_range", "repeats"),
        ({"repeats": 1.5}, "out_of_range", "repeats"),
        ({"repeats": "²"}, "invalid", "repeats"),
        ({"repeats": 1e300}, "invalid", "repeats"),
        ({"repeats": 200_000}, "out_of_range", "repeats"),
        ({"resolution": 1e200}, "invalid", "resolution"),
        ({"resolution": 1e17, "resolution_type": "area"}, "out_of_range", "resolution"),
        ({"crop_aspect": "closest", "crop_aspect_buckets": [-1]}, "out_of_range", "crop_aspect_buckets"),
        ({"crop_aspect": "closest", "crop_aspect_buckets": [1.0, 1e305]}, "out_of_range", "crop_aspect_buckets"),
        ({"crop_aspect": "closest", "crop_aspect_buckets": ["1.0"]}, "out_of_range", "crop_aspect_buckets"),
        ({"crop_aspect_buckets": 1.0}, "out_of_range", "crop_aspect_buckets"),
        ({"probability": 2}, "out_of_range", "probability"),
        ({"train_batch_size": 0}, "out_of_range", "train_batch_size"),
        ({"train_batch_size": "two"}, "invalid", "train_batch_size"),
        ({"vae_batch_size": -1}, "out_of_range", "vae_batch_size"),
        ({"resolution": 0}, "out_of_range", "resolution"),
        ({"resolution": -1, "resolution_type": "pixel"}, "out_of_range", "resolution"),
        ({"minimum_image_size": -1}, "out_of_range", "minimum_image_size"),
        ({"resolution_type": "area", "minimum_image_size": 512}, "wrong_unit", "minimum_image_size"),
        ({"dataset_type": "video", "video": {"num_frames": 9, "min_frames": 5}}, "invalid", "video.min_frames"),
        ({"dataset_type": "video", "video": {"num_frames": "9"}}, "invalid", "video"),
        ({"conditioning_data": ["edges"]}, "broken_link", "conditioning_data"),
        ({"text_embeds": "nowhere"}, "broken_link", "text_embeds"),
        ({"image_embeds": "photos"}, "broken_link", "image_embeds"),
        ({"conditioning": {"no": "type"}}, "invalid", "conditioning"),
    ],
)
def test_what_simpletuner_refuses_is_an_error(entry: dict[str, Any], code: str, key: str) -> None:
    assert ("error", code, f"dataloader_config.0.{key}") in found({"id": "photos", **entry})


def test_a_bucket_of_ones_own_needs_a_place_and_keys_that_the_image_holds() -> None:
    codes = found({"id": "mine", "type": "aws"})
    assert [c for c in codes if c[1] == "bucket_incomplete"] == [
        ("warning", "bucket_incomplete", f"dataloader_config.0.{name}")
        for name in ("aws_bucket_name", "aws_region_name", "aws_endpoint_url")
    ]
    assert ("warning", "bucket_without_keys", "dataloader_config.0.aws_access_key_id") in codes


def test_a_list_of_urls_is_not_on_the_rented_machine() -> None:
    assert found(CSV) == [("warning", "not_on_trainer", "dataloader_config.0.csv_file")]


def test_entries_between_each_other() -> None:
    assert ("error", "two_defaults", "dataloader_config.2.default") in found(LOCAL, TEXTS, {**TEXTS, "id": "more"})
    shared = {**LOCAL, "cache_dir_vae": "cache/vae"}
    assert ("error", "cache_shared", "dataloader_config.1.cache_dir_vae") in found(shared, {**shared, "id": "b"})
    assert found(shared, {**shared, "id": "b", "cache_dir_vae": "cache/vae/{id}"}) == []
    text = {**LOCAL, "cache_dir_vae": "cache/text"}
    assert ("error", "cache_shared", "dataloader_config.0.cache_dir_vae") in found(text, TEXTS)
    assert ("error", "no_training_dataset", "dataloader_config") in found(CONDITION)
    assert ("error", "no_training_dataset", "dataloader_config") in found(TEXTS)


def test_a_slip_in_a_dataset_type_is_told_once() -> None:
    assert found({**LOCAL, "dataset_type": "imgae"}) == [
        ("error", "unknown_dataset_type", "dataloader_config.0.dataset_type")
    ]
    assert found(TEXTS, distillation_method="dcm") == []
    assert ("error", "conditioning_missing", "dataloader_config.0.conditioning_data") in found(LOCAL, controlnet="true")
    assert ("error", "broken_link", "dataloader_config.0.conditioning_data") in found(
        {**LOCAL, "conditioning_data": "edges"}, {**CONDITION, "disabled": True}
    )


def test_regularisation_is_for_loras_beside_something_new() -> None:
    held = {**LOCAL, "is_regularisation_data": True}
    assert ("note", "regularisation_unused", "dataloader_config.0.is_regularisation_data") in found(
        held, model_type="full"
    )
    assert ("warning", "only_regularisation", "dataloader_config.0.is_regularisation_data") in found(
        held, model_type="lora"
    )


# --- names of settings ----------------------------------------------------------------------------------------
def keys(**data: Any) -> list[tuple[str, str, str]]:
    """(level, code, advice) of what is said of the names of an entry's settings."""
    entries = entries_of({}, [{"id": "photos", **data}])
    return [(f.level.value, f.code, f.advice) for f in check_keys(entries, options())]


@pytest.mark.parametrize(
    "entry",
    [
        {**LOCAL, **TABLE, "dataset_id": "photos", "_remark": "mine", "//": "x", "comment": "y"},
        {**LOCAL, "resolution": 1024, "resolution_type": "pixel_area", "crop": True, "crop_style": "center"},
        {**LOCAL, "cache_dir_vae": "c", "repeats": 1, "minimum_image_size": 512, "is_regularisation_data": True},
        {**LOCAL, "video": {}, "audio": {}, "conditioning": [], "skip_file_discovery": "vae", "hash_filenames": True},
        {**TEXTS, "write_batch_size": 4, "disabled": False},
        {**HUB, "huggingface": {}, "split": "train", "streaming": True, "image_column": "image"},
        CSV,
        {**BUCKET, "aws_data_prefix": "photos/", "aws_session_token": "{env:T}"},
        {"type": "webshart", "webshart": {}, "source": "owner/name"},
        {"type": "memory", "dataset_type": "text_embeds", "memory_filesystem_size": "1g"},
    ],
)
def test_settings_that_simpletuner_reads_are_known(entry: dict[str, Any]) -> None:
    assert keys(**entry) == []


@pytest.mark.parametrize(
    ("key", "level", "code", "advice"),
    [
        ("repeat", "warning", "unknown_key", "Did you mean repeats?"),
        ("instance_data_directory", "warning", "unknown_key", "Did you mean instance_data_dir?"),
        ("caption_stategy", "warning", "unknown_key", "Did you mean caption_strategy?"),
        ("learning_rate", "warning", "unknown_key", "It is an option of the whole run: move it into the config."),
        ("favourite_colour", "note", "unknown_key", "Leave it out, or look it up in SimpleTuner's DATALOADER.md."),
        ("csv_file", "note", "key_of_other_type", "Leave csv_file out."),
    ],
)
def test_settings_that_it_passes_over_are_told_of(key: str, level: str, code: str, advice: str) -> None:
    assert keys(type="local", **{key: 1}) == [(level, code, advice)]


def test_what_is_no_entry_at_all_is_told_of_briefly() -> None:
    assert len(keys(**{f"nothing_{n}": n for n in range(500)})) == MAX_UNKNOWN


def test_a_number_out_of_range_is_told_with_the_range() -> None:
    (finding,) = check_entries(entries_of({}, [{**LOCAL, "resolution": -1}]))
    assert finding.message.endswith("resolution is -1, and must be a number above 0 and at most 100,000.")
    assert found({**LOCAL, "resolution": "{env:SIZE}", "resolution_type": "pixel", "repeats": 0}) == []


def test_a_minimum_in_the_wrong_unit_is_told_what_it_would_be_in_the_right_one() -> None:
    (finding,) = check_entries(entries_of({}, [{**LOCAL, "resolution_type": "area", "minimum_image_size": 512}]))
    assert "would be megapixels" in finding.message
    assert "set it to 0.26" in finding.advice


def test_a_model_type_that_is_none_has_no_consequences() -> None:
    assert found(LOCAL, {**LOCAL, "id": "held", "is_regularisation_data": True}, model_type="loar") == []


def test_every_finding_says_what_to_do() -> None:
    entries = [{"id": "a", "type": "aws"}, {"id": "b", "type": "x"}, {"id": "c", "caption_strategy": "y"}]
    for finding in check_entries(entries_of({}, entries)):
        assert finding.advice
        assert finding.level in Level
        assert finding.message.startswith("Dataset '")
