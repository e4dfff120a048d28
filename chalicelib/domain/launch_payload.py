"""What is sent to SimpleTuner's trainer: its inputs, its dataloader, and the files it expects to find.

Pure. The behaviour it relies on was read in the source of SimpleTuner 4.10.1 (``data_backend/factory.py``,
``data_backend/aws.py``, ``metadata/backends/discovery.py``, ``publishing/providers/s3.py``):

- the S3 data backend reads images below ``aws_data_prefix`` and keeps its indices below ``instance_data_dir`` when an
  entry has both, and VAE latents in the image backend unless ``image_embeds`` names another one;
- it asks for its indices with HEAD before it writes them, and gives up on any answer but 404;
- latents lie below ``cache_dir_vae``, whatever the ``cache_dir`` of the cache entry; that each local entry's
  ``instance_data_dir`` exists is checked first of all; every entry needs a ``type``;
- the table of ``metadata_backend`` parquet is read through the backend of the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.trainer import CACHE_DATASET_TYPES, is_enabled, is_local


@dataclass(frozen=True)
class S3Location:
    """Where one kind of data lies and with which temporary credentials the trainer reaches it; ``repr`` hides them."""

    bucket: str
    prefix: str
    endpoint_url: str
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


#: Kinds of datasets whose latents the trainer caches, with the data itself unless told otherwise.
_WITH_LATENTS = frozenset({"image", "video", "conditioning", "eval", "audio"})
#: Kinds for which some models also cache embeddings of pictures (image to video).
_WITH_PICTURE_EMBEDS = frozenset({"video", "conditioning"})
#: Where the data lay on the user's disk; in the bucket it lies elsewhere.
_USERS_PLACE = frozenset({"instance_data_dir", "instance_data_root", "dataset_id"})


def launch_dataloader(
    dataloader: Sequence[Mapping[str, Any]], locations: Mapping[str, S3Location], scratch_prefix: str
) -> list[dict[str, Any]]:
    """The dataloader for the trainer: each entry in ``locations`` (by id) read from S3, caches on the trainer's disk.

    ``scratch_prefix`` (ends in a slash) is where the trainer may write beside the data. Caches that the user configured
    are kept, on the trainer's disk. Entries of other types pass unchanged.
    """
    taken = {str(entry["id"]) for entry in dataloader}
    entries: list[dict[str, Any]] = []
    caches: list[dict[str, Any]] = []
    for entry in dataloader:
        location = locations.get(str(entry["id"]))
        if location is not None:
            entries.append(_from_s3(entry, location, scratch_prefix))
            caches += _own_caches(entries[-1], taken)
        elif entry.get("dataset_type") in CACHE_DATASET_TYPES and is_local(entry):
            entries.append(_on_the_trainer(entry))
        else:
            entries.append(dict(entry))
    entries += caches
    if not any(e.get("dataset_type") == "text_embeds" and is_enabled(e) for e in entries):
        entries.append(
            {
                "id": _new_id("text-embed-cache", taken),
                "type": "local",
                "dataset_type": "text_embeds",
                "default": True,
                "cache_dir": "cache/text",
            }
        )
    return entries


def _from_s3(entry: Mapping[str, Any], location: S3Location, scratch_prefix: str) -> dict[str, Any]:
    """The entry with its data in S3 instead of on the user's disk."""
    moved = {k: v for k, v in entry.items() if k not in _USERS_PLACE}
    moved |= {
        "type": "aws",
        "aws_bucket_name": location.bucket,
        "aws_endpoint_url": location.endpoint_url,
        "aws_region_name": location.region,
        "aws_access_key_id": location.access_key_id,
        "aws_secret_access_key": location.secret_access_key,
        "aws_session_token": location.session_token,
        "aws_data_prefix": location.prefix,
        "instance_data_dir": f"{scratch_prefix}{entry['id']}",
    }
    table = table_in_dataset(entry)
    if table is not None:
        # The trainer reads it through the same backend as the pictures, by its full key.
        moved["parquet"] = {**entry["parquet"], "path": f"{location.prefix}{table}"}
    return moved


def _own_caches(entry: dict[str, Any], taken: set[str]) -> list[dict[str, Any]]:
    """Makes ``entry`` keep its latents on the trainer's disk unless the user says where; returns the caches for it."""
    kind = entry.get("dataset_type") or "image"
    caches = []
    for key, kinds, name in (
        ("image_embeds", _WITH_LATENTS, "vae"),
        ("conditioning_image_embeds", _WITH_PICTURE_EMBEDS, "picture"),
    ):
        if entry.get(key) or kind not in kinds:
            continue
        entry[key] = _new_id(f"{entry['id']}-{name}-cache", taken)
        folder = entry.get("cache_dir_vae") if key == "image_embeds" else None
        caches.append(
            {
                "id": entry[key],
                "type": "local",
                "dataset_type": key,
                "cache_dir": folder if isinstance(folder, str) and folder else f"cache/{name}/{entry['id']}",
            }
        )
    return caches


def _on_the_trainer(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A cache on the trainer's disk. It insists on a type, and that an ``instance_data_dir`` exists there."""
    return {"type": "local", **{k: v for k, v in entry.items() if k not in {"instance_data_dir", "instance_data_root"}}}


def _new_id(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def table_in_dataset(entry: Mapping[str, Any]) -> str | None:
    """The path, within the dataset, of the table that an entry's ``parquet`` block names; None without one, or when it
    lies elsewhere.

    People write it as the trainer on their own machine would find it: below ``instance_data_dir``, which the command
    line has made absolute meanwhile, or as a name within the dataset.
    """
    block = entry.get("parquet")
    path = block.get("path") if isinstance(block, Mapping) else None
    if not isinstance(path, str) or not path or "\x00" in path:
        return None
    folder = entry.get("instance_data_dir") or entry.get("instance_data_root")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    above = [part for part in folder.split("/") if part not in {"", "."}] if isinstance(folder, str) else []
    if not parts or ".." in parts:
        return None
    if path.startswith("/"):
        inside = parts[: len(above)] == above and len(parts) > len(above) > 0
        return "/".join(parts[len(above) :]) if inside else None
    for length in range(min(len(parts) - 1, len(above)), 0, -1):
        if parts[:length] == above[-length:]:
            return "/".join(parts[length:])
    return "/".join(parts)


def inline_lycoris(given: Any) -> dict[str, Any] | None:
    """The LyCORIS settings that stand in the config itself, as an object or as JSON text; None for anything else."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return None
    return dict(given) if isinstance(given, Mapping) else None


def launch_inputs(
    config: Mapping[str, Any],
    dataloader: Sequence[Mapping[str, Any]],
    *,
    output: S3Location,
    job_id: str,
    run_name: str,
) -> dict[str, Any]:
    """The prediction's ``input``: only what the Cog declares.

    The publisher's credentials go into ``publishing_config`` and not into the Cog's ``s3_access_key`` inputs, because
    the Cog has no input for the session token that temporary credentials need. They are prefix-scoped and expire.
    """
    publishing = {
        "provider": "s3",
        "bucket": output.bucket,
        "base_path": output.prefix.rstrip("/"),
        "endpoint_url": output.endpoint_url,
        "region": output.region,
        "access_key": output.access_key_id,
        "secret_key": output.secret_access_key,
        "session_token": output.session_token,
    }
    lycoris = inline_lycoris(config.get("lycoris_config"))
    launched = {
        **{k: v for k, v in config.items() if lycoris is None or k != "lycoris_config"},
        "output_dir": f"output/{job_id}",
        "tracker_run_name": run_name,
        "publishing_config": [publishing],
    }
    inputs: dict[str, Any] = {
        "config_json": json.dumps(launched, ensure_ascii=False),
        "dataloader_json": json.dumps(list(dataloader), ensure_ascii=False),
        "max_train_steps": config["max_train_steps"],
        "return_logs": True,
    }
    if lycoris is not None:
        # The trainer wants a file's name in its config; the Cog makes the file from this input.
        inputs["lycoris_config"] = json.dumps(lycoris, ensure_ascii=False)
    return inputs


def index_keys(
    dataloader: Sequence[Mapping[str, Any]], locations: Mapping[str, S3Location], scratch_prefix: str
) -> list[str]:
    """Keys of the indices that the trainer will ask for, below the scratch prefix.

    They must exist before it starts, as ``{}``: its credentials may list certain prefixes only, and S3 answers HEAD of
    a missing key with 404 to those alone who may list the bucket unconditionally, with 403 to others
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html, "Permissions").
    """
    keys = []
    for entry in dataloader:
        entry_id = str(entry["id"])
        if entry_id not in locations:
            continue
        suffix = entry.get("cache_file_suffix") or entry_id
        keys += [
            f"{scratch_prefix}{entry_id}/aspect_ratio_bucket_{kind}_{suffix}.json" for kind in ("indices", "metadata")
        ]
    return keys
