"""An S3 in memory, pictures, and launches as the product makes them, for tests of the sandbox's trainer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import ClientError
from PIL import Image

from local.sandbox.trainer.s3 import Access


class MemoryS3:
    """boto3's S3 client as far as the trainer uses it. ``refuse`` names calls that answer AccessDenied."""

    def __init__(self, page_size: int = 1000) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.accesses: list[Access] = []
        self.refuse: set[str] = set()
        self.puts: list[str] = []
        self._page_size = page_size

    def connect(self, access: Access) -> MemoryS3:
        self.accesses.append(access)
        return self

    def keys(self, bucket: str) -> set[str]:
        return {key for name, key in self.objects if name == bucket}

    def list_objects_v2(self, **kwargs: Any) -> Any:
        self._check("ListObjectsV2")
        keys = sorted(k for b, k in self.objects if b == kwargs["Bucket"] and k.startswith(kwargs["Prefix"]))
        start = int(kwargs.get("ContinuationToken", 0))
        page = keys[start : start + self._page_size]
        more = start + self._page_size < len(keys)
        answer: dict[str, Any] = {"Contents": [{"Key": key} for key in page], "IsTruncated": more}
        return answer | ({"NextContinuationToken": str(start + self._page_size)} if more else {})

    def get_object(self, **kwargs: Any) -> Any:
        self._check("GetObject")
        return {"Body": io.BytesIO(self.objects[kwargs["Bucket"], kwargs["Key"]])}

    def put_object(self, **kwargs: Any) -> Any:
        self._check("PutObject")
        body = kwargs["Body"]
        self._put(kwargs["Bucket"], kwargs["Key"], body if isinstance(body, bytes) else body.read())

    def upload_file(self, filename: str, bucket: str, key: str, /, **kwargs: Any) -> Any:
        self._check("PutObject")
        self._put(bucket, key, Path(filename).read_bytes())

    def _put(self, bucket: str, key: str, data: bytes) -> None:
        self.puts.append(key)
        self.objects[bucket, key] = data

    def _check(self, call: str) -> None:
        if call in self.refuse:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, call)


def picture(shade: int = 0, size: tuple[int, int] = (48, 48), form: str = "PNG") -> bytes:
    """A striped picture; ``shade`` makes it differ from others."""
    pixels = np.full((size[1], size[0], 3), (shade * 37) % 256, dtype=np.uint8)
    pixels[:: 2 + shade % 3, :, shade % 3] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def fill(s3: MemoryS3, count: int = 4, prefix: str = "u/ds/v1/files/") -> None:
    for number in range(count):
        s3.objects["datasets", f"{prefix}{number}.png"] = picture(number)
        s3.objects["datasets", f"{prefix}{number}.txt"] = f"a photo of thing number {number}".encode()


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "pictures",
        "type": "aws",
        "aws_bucket_name": "datasets",
        "aws_endpoint_url": "http://127.0.0.1:1",
        "aws_region_name": "us-east-1",
        "aws_access_key_id": "ASIADATA",
        "aws_secret_access_key": "data-secret",
        "aws_session_token": "data-session",
        "aws_data_prefix": "u/ds/v1/files/",
        "instance_data_dir": "_scratch/u/job_1/pictures",
        "caption_strategy": "textfile",
        "crop": True,
    } | changes


def config(**changes: Any) -> dict[str, Any]:
    return {
        "model_family": "flux",
        "max_train_steps": 20,
        "num_train_epochs": 0,
        "train_batch_size": 2,
        "learning_rate": 1e-4,
        "lora_rank": 4,
        "seed": 7,
        "checkpoint_step_interval": 10,
        "validation_step_interval": 10,
        "validation_prompt": "a photo of thing number 1",
        "validation_resolution": "64",
        "output_dir": "output/job_1",
        "publishing_config": [
            {
                "provider": "s3",
                "bucket": "outputs",
                "base_path": "u/job_1/artifacts",
                "endpoint_url": "http://127.0.0.1:1",
                "region": "us-east-1",
                "access_key": "ASIAOUT",
                "secret_key": "out-secret",
                "session_token": "out-session",
            }
        ],
    } | changes


def inputs(changes: dict[str, Any] | None = None, entries: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    chosen = config(**(changes or {}))
    return {
        "config_json": json.dumps({k: v for k, v in chosen.items() if v is not None}),
        "dataloader_json": json.dumps([entry()] if entries is None else entries),
    }
