"""Submitted entry → launched entry, for each type and kind of dataset."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.launch_payload import (
    S3Location,
    inline_lycoris,
    launch_dataloader,
    launch_inputs,
    table_in_dataset,
)
from chalicelib.domain.trainer import check_submission, needs_upload

WHERE = S3Location("data", "o/photos/v-1/", "http://s3", "us-east-1", "AKID", "SECRET", "SESSION")
IN_S3 = {
    "type": "aws",
    "aws_bucket_name": "data",
    "aws_endpoint_url": "http://s3",
    "aws_region_name": "us-east-1",
    "aws_access_key_id": "AKID",
    "aws_secret_access_key": "SECRET",
    "aws_session_token": "SESSION",
    "aws_data_prefix": "o/photos/v-1/",
    "instance_data_dir": "_scratch/photos",
}
TEXT_CACHE = {
    "id": "text-embed-cache",
    "type": "local",
    "dataset_type": "text_embeds",
    "default": True,
    "cache_dir": "cache/text",
}
VAE_CACHE = {
    "id": "photos-vae-cache",
    "type": "local",
    "dataset_type": "image_embeds",
    "cache_dir": "cache/vae/photos",
}
PICTURE_CACHE = {
    "id": "photos-picture-cache",
    "type": "local",
    "dataset_type": "conditioning_image_embeds",
    "cache_dir": "cache/picture/photos",
}
PHOTOS = {"id": "photos", "type": "local", "instance_data_dir": "/data/photos"}


def launched(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    where = {entry["id"]: WHERE for entry in entries if needs_upload(entry)}
    return launch_dataloader(entries, where, "_scratch/")


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "h", "type": "huggingface", "dataset_name": "o/n", "cache_dir_vae": "c", "huggingface": {"x": [1]}},
        {"id": "c", "type": "csv", "csv_file": "a.csv", "csv_cache_dir": "c", "csv_caption_column": "t"},
        {"id": "a", "type": "aws", "aws_bucket_name": "b", "instance_data_dir": "keep", "aws_data_prefix": "p/"},
        {"id": "w", "type": "webshart", "source": "o/n"},
        {"id": "m", "type": "memory", "dataset_type": "image_embeds", "memory_filesystem_size": "1G"},
    ],
)
def test_other_types_pass_untouched(entry: dict[str, Any]) -> None:
    assert launched(entry) == [entry, TEXT_CACHE]


@pytest.mark.parametrize(
    ("entry", "caches"),
    [
        ({"caption_strategy": "textfile", "repeats": 2}, [VAE_CACHE]),
        ({"caption_strategy": "filename"}, [VAE_CACHE]),
        ({"caption_strategy": "instanceprompt", "instance_prompt": "a cat"}, [VAE_CACHE]),
        ({"is_regularisation_data": True}, [VAE_CACHE]),
        ({"conditioning_data": "edges"}, [VAE_CACHE]),
        ({"conditioning": [{"type": "canny", "params": {}}]}, [VAE_CACHE]),
        ({"dataset_type": "image"}, [VAE_CACHE]),
        ({"dataset_type": "eval"}, [VAE_CACHE]),
        ({"dataset_type": "audio", "audio": {"channels": 2}}, [VAE_CACHE]),
        ({"dataset_type": "video", "video": {"num_frames": 25}}, [VAE_CACHE, PICTURE_CACHE]),
        ({"dataset_type": "conditioning", "conditioning_type": "mask"}, [VAE_CACHE, PICTURE_CACHE]),
        ({"dataset_type": "caption"}, []),
    ],
)
def test_local_datasets_are_read_from_s3(entry: dict[str, Any], caches: list[dict[str, Any]]) -> None:
    links = {c["dataset_type"]: c["id"] for c in caches}
    assert launched({**PHOTOS, **entry}) == [
        {"id": "photos", **entry, **IN_S3, **links},
        *caches,
        TEXT_CACHE,
    ]


def test_caches_stay_as_configured() -> None:
    mine = {**PHOTOS, "cache_dir_vae": "cache/{model_family}/photos", "vae_cache_ondemand": True}
    entries = launched(mine)
    assert entries[0]["cache_dir_vae"] == "cache/{model_family}/photos"
    assert entries[1] == {**VAE_CACHE, "cache_dir": "cache/{model_family}/photos"}
    kept = {**PHOTOS, "image_embeds": "latents", "text_embeds": "texts", "cache_dir_vae": "c"}
    latents = {"id": "latents", "dataset_type": "image_embeds", "instance_data_dir": "/mine", "cache_dir": "x"}
    texts = {"id": "texts", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "t"}
    assert launched(kept, latents, texts) == [
        {"id": "photos", "image_embeds": "latents", "text_embeds": "texts", "cache_dir_vae": "c", **IN_S3},
        # A type is added, and a folder of the user's computer left out: the trainer insists on both.
        {"type": "local", "id": "latents", "dataset_type": "image_embeds", "cache_dir": "x"},
        texts,
    ]


def test_an_id_that_is_taken_is_not_used_for_a_cache() -> None:
    entries = launched(
        PHOTOS, {"id": "photos-vae-cache", "type": "huggingface"}, {"id": "text-embed-cache", "type": "huggingface"}
    )
    ids = [entry["id"] for entry in entries]
    assert ids == ["photos", "photos-vae-cache", "text-embed-cache", "photos-vae-cache-2", "text-embed-cache-2"]
    assert entries[0]["image_embeds"] == "photos-vae-cache-2"


def test_a_table_of_captions_is_read_from_the_dataset() -> None:
    entry = {
        **PHOTOS,
        "metadata_backend": "parquet",
        "caption_strategy": "parquet",
        "parquet": {"path": "/data/photos/meta/t.parquet", "filename_column": "id"},
    }
    assert launched(entry)[0]["parquet"] == {"path": "o/photos/v-1/meta/t.parquet", "filename_column": "id"}
    assert entry["parquet"] == {"path": "/data/photos/meta/t.parquet", "filename_column": "id"}


@pytest.mark.parametrize(
    ("folder", "path", "inside"),
    [
        ("/data/photos", "/data/photos/t.parquet", "t.parquet"),
        ("/data/photos/", "/data/photos//a/./t.jsonl", "a/t.jsonl"),
        ("/home/me/sets/photos", "sets/photos/t.parquet", "t.parquet"),
        ("/home/me/sets/photos", "photos/t.parquet", "t.parquet"),
        ("/data/photos", "t.parquet", "t.parquet"),
        ("/data/photos", "meta/t.parquet", "meta/t.parquet"),
        ("/data/photos", "/elsewhere/t.parquet", None),
        ("/data/photos", "/data/photos-2/t.parquet", None),
        ("/data/photos", "/data/photos", None),
        ("/data/photos", "../t.parquet", None),
        (None, "t.parquet", "t.parquet"),
        (None, "/t.parquet", None),
        ("/data/photos", "", None),
        ("/data/photos", 5, None),
    ],
)
def test_where_a_table_lies(folder: str | None, path: Any, inside: str | None) -> None:
    assert table_in_dataset({"instance_data_dir": folder, "parquet": {"path": path}}) == inside


def test_lycoris_settings_travel_in_the_cogs_own_input() -> None:
    settings = {"algo": "lokr", "multiplier": 1.0}
    for given in (settings, json.dumps(settings), "\n" + json.dumps(settings)):
        config = {"model_family": "flux", "max_train_steps": 5, "lycoris_config": given}
        inputs = launch_inputs(config, [], output=WHERE, job_id="j", run_name="r")
        assert json.loads(inputs["lycoris_config"]) == settings
        assert "lycoris_config" not in json.loads(inputs["config_json"])
    config = {"model_family": "flux", "max_train_steps": 5, "lycoris_config": "config/lycoris.json"}
    inputs = launch_inputs(config, [], output=WHERE, job_id="j", run_name="r")
    assert "lycoris_config" not in inputs
    assert inline_lycoris("{") is None
    assert inline_lycoris([1]) is None


def test_keys_of_a_bucket_may_be_variables_of_the_image_and_nothing_else() -> None:
    config = {"model_family": "flux", "max_train_steps": 5}

    def codes(value: str) -> list[str]:
        entry = {"id": "a", "type": "aws", "aws_secret_access_key": value}
        return [p.code for p in check_submission(config, [entry])]

    assert codes("{env:AWS_SECRET_ACCESS_KEY}") == []
    for value in ("wJalrXUtnFEMI", "{env:X} wJalrXUtnFEMI", "{env:}", "{env:a-b}", "{model_family}"):
        assert codes(value) == ["secret_in_config"]
