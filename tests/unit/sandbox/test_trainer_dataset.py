"""Pictures and captions are read as SimpleTuner reads them, and refused where it refuses."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image, UnidentifiedImageError

from local.sandbox.trainer import config as trainer_config
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.dataset import Backend, load
from tests.unit.sandbox.support import MemoryS3, config, entry, fill, picture


def loaded(s3: MemoryS3, *entries: dict[str, Any], **changes: Any) -> list[Backend]:
    parsed = trainer_config.parse(config(**changes))
    return load(list(entries) or [entry()], parsed, s3.connect, Console(io.StringIO()))


@pytest.fixture
def s3() -> MemoryS3:
    memory = MemoryS3()
    fill(memory)
    return memory


def test_pictures_come_with_their_captions(s3: MemoryS3) -> None:
    (backend,) = loaded(s3)
    assert [s.captions for s in backend.samples] == [(f"a photo of thing number {i}",) for i in range(4)]
    assert all(-1 <= s.latent.min() <= s.latent.max() <= 1 for s in backend.samples)


def test_only_the_datasets_own_prefix_and_credentials_are_used(s3: MemoryS3) -> None:
    s3.objects["datasets", "somebody/else/0.png"] = picture(9)
    (backend,) = loaded(s3)
    assert all(s.key.startswith("u/ds/v1/files/") for s in backend.samples)
    (access,) = s3.accesses
    assert (access.access_key_id, access.secret_access_key, access.session_token) == (
        "ASIADATA",
        "data-secret",
        "data-session",
    )
    assert "data-secret" not in repr(access)


def test_long_listings_are_read_to_the_end() -> None:
    s3 = MemoryS3(page_size=3)
    fill(s3, 7)
    assert len(loaded(s3)[0].samples) == 7


def test_each_line_is_a_caption_unless_told_otherwise(s3: MemoryS3) -> None:
    s3.objects["datasets", "u/ds/v1/files/0.txt"] = b"one\n\n two \n"
    assert loaded(s3)[0].samples[0].captions == ("one", "two")
    assert loaded(s3, entry(disable_multiline_split=True))[0].samples[0].captions == ("one\n\n two",)


@pytest.mark.parametrize(
    ("changes", "captions"),
    [
        ({"caption_strategy": "filename"}, ("0",)),
        ({"caption_strategy": "instanceprompt", "instance_prompt": "sks dog"}, ("sks dog",)),
        ({"caption_strategy": "instanceprompt", "instance_prompt": ["a", " ", "b"]}, ("a", "b")),
        ({"only_instance_prompt": True, "instance_prompt": "sks"}, ("sks",)),
        ({"prepend_instance_prompt": True, "instance_prompt": "sks"}, ("sks a photo of thing number 0",)),
    ],
)
def test_caption_strategies(s3: MemoryS3, changes: dict[str, Any], captions: tuple[str, ...]) -> None:
    assert loaded(s3, entry(**changes))[0].samples[0].captions == captions


def test_file_names_become_words() -> None:
    s3 = MemoryS3()
    s3.objects["datasets", "u/ds/v1/files/deep/a_red_car.png"] = picture()
    (backend,) = loaded(s3, entry(caption_strategy="filename"), train_batch_size=1)
    assert backend.samples[0].captions == ("a red car",)


def test_an_empty_caption_is_one(s3: MemoryS3) -> None:
    s3.objects["datasets", "u/ds/v1/files/0.txt"] = b""
    assert loaded(s3)[0].samples[0].captions == ("",)


def test_a_missing_caption_ends_the_run(s3: MemoryS3) -> None:
    del s3.objects["datasets", "u/ds/v1/files/2.txt"]
    with pytest.raises(FileNotFoundError, match=r"Caption file u/ds/v1/files/2\.txt not found"):
        loaded(s3)


@pytest.mark.parametrize("data", [b"", b"this is no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_ends_the_run(s3: MemoryS3, data: bytes) -> None:
    s3.objects["datasets", "u/ds/v1/files/1.png"] = data
    with pytest.raises(UnidentifiedImageError, match=r"cannot identify image file 'u/ds/v1/files/1\.png'"):
        loaded(s3)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_half_a_picture_ends_the_run(s3: MemoryS3, form: str) -> None:
    whole = picture(1, (300, 300), form)
    s3.objects["datasets", "u/ds/v1/files/1.png"] = whole[: len(whole) // 2]
    with pytest.raises(OSError, match=r"image file 'u/ds/v1/files/1\.png' can't be decoded"):
        loaded(s3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_formats(form: str) -> None:
    s3 = MemoryS3()
    s3.objects["datasets", f"u/ds/v1/files/a.{form.lower()}"] = picture(form=form)
    assert len(loaded(s3, entry(caption_strategy="filename"), train_batch_size=1)[0].samples) == 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_colour_modes(mode: str) -> None:
    out, s3 = io.BytesIO(), MemoryS3()
    Image.new("RGB", (20, 20), "red").convert(mode).save(out, "TIFF")
    s3.objects["datasets", "u/ds/v1/files/a.tiff"] = out.getvalue()
    assert len(loaded(s3, entry(caption_strategy="filename"), train_batch_size=1)[0].samples) == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"aws_data_prefix": "u/none/"}, ValueError, "no images were found"),
        ({"type": "local", "instance_data_dir": "/home/me/pics"}, FileNotFoundError, "directory not found: /home/me"),
        ({"type": "huggingface"}, ValueError, "type huggingface"),
        ({"dataset_type": "video"}, ValueError, "dataset_type video"),
        ({"aws_region_name": None}, ValueError, "Missing required key aws_region_name"),
        ({"id": ""}, ValueError, "needs an id"),
        ({"caption_strategy": "parquet"}, ValueError, "Unsupported caption strategy: parquet"),
        ({"caption_strategy": "instanceprompt"}, ValueError, "requires an instance_prompt"),
        ({"disabled": True}, ValueError, "No images were found"),
    ],
)
def test_refusals(s3: MemoryS3, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        loaded(s3, entry(**changes))


@pytest.mark.parametrize("entries", ["text", 5, [1], None])
def test_a_dataloader_that_is_no_list_of_datasets(s3: MemoryS3, entries: object) -> None:
    with pytest.raises(ValueError, match="a list of datasets"):
        load(entries, trainer_config.parse(config()), s3.connect, Console(io.StringIO()))


def test_every_shape_must_fill_a_batch(s3: MemoryS3) -> None:
    s3.objects["datasets", "u/ds/v1/files/0.png"] = picture(0, (90, 30))
    assert loaded(s3)  # cropped to squares: one shape
    with pytest.raises(ValueError, match=r"zero usable batches: .*1 bucket\(s\).*repeats to at least 1"):
        loaded(s3, entry(crop=False))
    assert loaded(s3, entry(crop=False, repeats=1))[0].seen_per_epoch == 8
    assert loaded(s3, entry(crop=False), allow_dataset_oversubscription=True)[0].repeats == 1
    with pytest.raises(ValueError, match="zero usable batches"):
        loaded(s3, gradient_accumulation_steps=3)


def test_bucket_indices_go_to_the_scratch_prefix(s3: MemoryS3) -> None:
    loaded(s3)
    key = "_scratch/u/job_1/pictures/aspect_ratio_bucket_indices_pictures.json"
    document = json.loads(s3.objects["datasets", key])
    assert len(document["aspect_ratio_bucket_indices"]["1.00"]) == 4
    assert s3.puts == [key, key.replace("indices_", "metadata_")]


def test_without_a_scratch_prefix_they_go_beside_the_data(s3: MemoryS3) -> None:
    loaded(s3, entry(instance_data_dir=None))
    assert all(key.startswith("u/ds/v1/files/aspect_ratio_bucket_") for key in s3.puts)
