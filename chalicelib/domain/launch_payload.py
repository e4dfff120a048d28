"""What is sent to SimpleTuner's trainer: its inputs, its dataloader, and the files it expects to find.

Pure. The behaviour it relies on was read in the source of SimpleTuner 4.10.1 (``data_backend/factory.py``,
``data_backend/aws.py``, ``metadata/backends/discovery.py``, ``publishing/providers/s3.py``):

- the S3 data backend reads images below ``aws_data_prefix`` and keeps its indices below ``instance_data_dir`` when an
  entry has both, and VAE latents in the image backend unless ``image_embeds`` names another one;
- it asks for its indices with HEAD before it writes them, and gives up on any answer but 404.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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


def launch_dataloader(
    dataloader: Sequence[Mapping[str, Any]], locations: Mapping[str, S3Location], scratch_prefix: str
) -> list[dict[str, Any]]:
    """The dataloader for the trainer: each entry in ``locations`` (by id) read from S3, caches on the trainer's disk.

    ``scratch_prefix`` (ends in a slash) is where the trainer may write beside the data. Other entries pass unchanged.
    """
    entries: list[dict[str, Any]] = []
    caches: list[dict[str, Any]] = []
    for entry in dataloader:
        location = locations.get(str(entry["id"]))
        if location is None:
            entries.append(dict(entry))
            continue
        local = {k: v for k, v in entry.items() if k not in {"instance_data_dir", "instance_data_root", "dataset_id"}}
        local |= {
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
        if not local.get("image_embeds") and local.get("dataset_type", "image") in {"image", "video", "conditioning"}:
            cache_id = f"{entry['id']}-vae-cache"
            local["image_embeds"] = cache_id
            local.pop("cache_dir_vae", None)
            caches.append(
                {
                    "id": cache_id,
                    "type": "local",
                    "dataset_type": "image_embeds",
                    "cache_dir": f"cache/vae/{entry['id']}",
                }
            )
        entries.append(local)
    entries += caches
    if not any(e.get("dataset_type") == "text_embeds" and not e.get("disabled") for e in entries):
        entries.append(
            {
                "id": "text-embed-cache",
                "type": "local",
                "dataset_type": "text_embeds",
                "default": True,
                "cache_dir": "cache/text",
            }
        )
    return entries


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
    launched = {
        **config,
        "output_dir": f"output/{job_id}",
        "tracker_run_name": run_name,
        "publishing_config": [publishing],
    }
    return {
        "config_json": json.dumps(launched, ensure_ascii=False),
        "dataloader_json": json.dumps(list(dataloader), ensure_ascii=False),
        "max_train_steps": config["max_train_steps"],
        "return_logs": True,
    }


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
