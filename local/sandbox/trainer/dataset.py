"""The training data: pictures and captions from S3, as SimpleTuner's dataloader config names them."""

from __future__ import annotations

import io
import json
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from local.sandbox.trainer.config import TrainingConfig
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.model import LATENT, SIDE, Array
from local.sandbox.trainer.s3 import Access, Client, Connect, list_keys, read

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tiff", ".tif", ".gif"})
CACHES = frozenset({"text_embeds", "image_embeds", "conditioning_image_embeds", "distillation_cache"})
REQUIRED = ("aws_bucket_name", "aws_endpoint_url", "aws_region_name", "aws_access_key_id", "aws_secret_access_key")
MAX_IMAGES = 5000


@dataclass(frozen=True)
class Sample:
    """One picture, ``latent`` of LATENT values in [-1, 1], and its captions, of which a step draws one."""

    key: str
    captions: tuple[str, ...]
    latent: Array
    bucket: str


@dataclass(frozen=True)
class Backend:
    """One dataset of the config, loaded. ``repeats`` counts from 0 as in SimpleTuner."""

    id: str
    samples: tuple[Sample, ...]
    repeats: int

    @property
    def seen_per_epoch(self) -> int:
        return len(self.samples) * (self.repeats + 1)


def load(entries: object, config: TrainingConfig, connect: Connect, console: Console) -> list[Backend]:
    """Every data set of the dataloader config. Raises what SimpleTuner would raise: ValueError, FileNotFoundError,
    PIL's UnidentifiedImageError and OSError, botocore's errors."""
    if isinstance(entries, Mapping):
        entries = [entries]
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("error: argument --data_backend_config: a list of datasets is needed")
    backends = [
        _backend(entry, config, connect, console)
        for entry in entries
        if entry.get("dataset_type", "image") not in CACHES and not entry.get("disabled") and not entry.get("disable")
    ]
    if not backends:
        raise ValueError("No images were found: the data backend config names no dataset of images.")
    return backends


def _backend(entry: Mapping[str, Any], config: TrainingConfig, connect: Connect, console: Console) -> Backend:
    backend_id = str(entry.get("id") or "")
    if not backend_id:
        raise ValueError("error: argument --data_backend_config: every dataset needs an id")
    kind, dataset_type = entry.get("type", "local"), entry.get("dataset_type", "image")
    if kind == "local":
        raise FileNotFoundError(f"(id={backend_id}) data backend directory not found: {entry.get('instance_data_dir')}")
    if kind != "aws" or dataset_type != "image":
        raise ValueError(
            f"(id={backend_id}) The local sandbox reads pictures from S3 (type aws, dataset_type image), not type "
            f"{kind}, dataset_type {dataset_type}."
        )
    missing = [key for key in REQUIRED if not entry.get(key)]
    if missing:
        raise ValueError(f"(id={backend_id}) Missing required key {missing[0]} in AWS backend config.")
    client = connect(
        Access(
            endpoint_url=str(entry["aws_endpoint_url"]),
            region=str(entry["aws_region_name"]),
            access_key_id=str(entry["aws_access_key_id"]),
            secret_access_key=str(entry["aws_secret_access_key"]),
            session_token=entry.get("aws_session_token") or None,
        )
    )
    repeats = int(entry.get("repeats") or 0)
    samples = _samples(entry, backend_id, client, console)
    repeats = _check_batches(backend_id, samples, repeats, config)
    _write_metadata(entry, backend_id, client, samples)
    console.log("INFO", f"(id={backend_id}) {len(samples)} images, {repeats} repeats")
    return Backend(backend_id, tuple(samples), repeats)


def _samples(entry: Mapping[str, Any], backend_id: str, client: Client, console: Console) -> list[Sample]:
    bucket, prefix = str(entry["aws_bucket_name"]), str(entry.get("aws_data_prefix") or "")
    present = set(list_keys(client, bucket, prefix))
    images = sorted(key for key in present if posixpath.splitext(key)[1].lower() in IMAGE_SUFFIXES)
    if not images:
        raise ValueError(
            f"(id={backend_id}) Dataset produced no usable samples: no images were found in s3://{bucket}/{prefix}"
        )
    if len(images) > MAX_IMAGES:
        raise ValueError(f"(id={backend_id}) The local sandbox takes {MAX_IMAGES} images at most, not {len(images)}.")
    samples = []
    for number, key in enumerate(images):
        if number % max(1, len(images) // 4) == 0:
            console.stage("VAE caching", percent=100 * number / len(images))
        captions = _captions(entry, key, bucket, client, present)
        latent, aspect = _latent(read(client, bucket, key), key, square=_is_square(entry))
        samples.append(Sample(key, captions, latent, aspect))
    console.stage("VAE caching", "completed", percent=100)
    return samples


def _captions(entry: Mapping[str, Any], key: str, bucket: str, client: Client, present: set[str]) -> tuple[str, ...]:
    strategy = entry.get("caption_strategy", "filename")
    instance = entry.get("instance_prompt")
    if strategy == "instanceprompt" or entry.get("only_instance_prompt"):
        prompts = [str(p).strip() for p in (instance if isinstance(instance, list) else [instance or ""])]
        given = tuple(p for p in prompts if p)
        if not given:
            raise ValueError("caption_strategy='instanceprompt' requires an instance_prompt value.")
        return given
    stem = posixpath.splitext(key)[0]
    if strategy == "filename":
        given = (posixpath.basename(stem).replace("_", " ").strip(),)
    elif strategy == "textfile":
        path = f"{stem}.txt"
        if path not in present:
            raise FileNotFoundError(f"Caption file {path} not found.")
        text = read(client, bucket, path).decode("utf-8")  # UnicodeDecodeError is a ValueError
        lines = [text] if entry.get("disable_multiline_split") else text.split("\n")
        given = tuple(line.strip() for line in lines if line.strip()) or ("",)
    else:
        raise ValueError(
            f"Unsupported caption strategy: {strategy}. The sandbox knows 'filename', 'textfile' and 'instanceprompt'."
        )
    if entry.get("prepend_instance_prompt"):
        given = tuple(f"{instance or ''} {caption}".strip() for caption in given)
    return given


def _is_square(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("crop")) and entry.get("crop_aspect", "square") == "square"


def _latent(data: bytes, key: str, *, square: bool) -> tuple[Array, str]:
    """The picture as the model sees it, and its aspect bucket. Raises what Pillow raises, with the key in it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at a fraction of its size
            aspect = f"{1 if square else image.width / image.height:.2f}"
            small = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BOX)
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"cannot identify image file '{key}'") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports broken PNG chunks as SyntaxError.
        raise OSError(f"image file '{key}' can't be decoded: {error}") from None
    pixels: Array = np.asarray(small, dtype=np.float32).reshape(LATENT) / np.float32(127.5) - np.float32(1)
    return pixels, aspect


def _check_batches(backend_id: str, samples: Sequence[Sample], repeats: int, config: TrainingConfig) -> int:
    """The repeats in force. SimpleTuner refuses a dataset when one aspect bucket can't fill a batch."""
    size = config.batch_size * config.accumulation
    short = {
        bucket: count for bucket, count in Counter(s.bucket for s in samples).items() if count * (repeats + 1) < size
    }
    if not short:
        return repeats
    needed = max(ceil(size / count) - 1 for count in short.values())
    if config.oversubscribe and not repeats:
        return needed
    raise ValueError(
        f"Dataset configuration will produce zero usable batches: (id={backend_id}) {len(short)} bucket(s) have fewer "
        f"samples than one batch of {size}. Reduce train_batch_size, increase repeats to at least {needed}, or add "
        "images."
    )


def _write_metadata(entry: Mapping[str, Any], backend_id: str, client: Client, samples: Sequence[Sample]) -> None:
    """SimpleTuner keeps its bucket indices beside the data, or below ``instance_data_dir`` where an entry has one."""
    root = str(entry.get("instance_data_dir") or entry.get("aws_data_prefix") or "")
    buckets: dict[str, list[str]] = {}
    for sample in samples:
        buckets.setdefault(sample.bucket, []).append(sample.key)
    documents = {
        "aspect_ratio_bucket_indices": {"config": {"id": backend_id}, "aspect_ratio_bucket_indices": buckets},
        "aspect_ratio_bucket_metadata": {s.key: {"aspect_ratio": float(s.bucket)} for s in samples},
    }
    for name, document in documents.items():
        key = posixpath.join(root, f"{name}_{backend_id}.json")
        client.put_object(Bucket=str(entry["aws_bucket_name"]), Key=key, Body=json.dumps(document).encode())
