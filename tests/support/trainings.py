"""What tests train on, and with: small pictures, a config, a dataloader."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def pictures(count: int = 6, *, side: int = 64) -> dict[str, bytes]:
    """Small PNG pictures with captions, the same every time."""
    files: dict[str, bytes] = {}
    for n in range(count):
        image = Image.new("RGB", (side, side), (40 * n % 256, 90, 200 - 20 * n % 200))
        image.paste((250, 250 - 30 * n % 250, 10), (8, 8, 24 + 4 * n % 32, 40))
        data = io.BytesIO()
        image.save(data, "PNG")
        files[f"picture-{n}.png"] = data.getvalue()
        files[f"picture-{n}.txt"] = f"a coloured square, number {n}".encode()
    return files


def training_config(steps: int) -> dict[str, Any]:
    return {
        "--model_family": "flux",
        "--model_type": "lora",
        "--pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
        "--output_dir": "output/tests",
        "--max_train_steps": steps,
        "--checkpoint_step_interval": steps,
        "--validation_step_interval": steps,
        "--validation_prompt": "a coloured square",
        "--lora_rank": 4,
        "--learning_rate": 1e-4,
        "--train_batch_size": 1,
        "--seed": 7,
    }


def dataloader(*dataset_ids: str) -> list[dict[str, Any]]:
    return [
        {
            "id": dataset_id,
            "type": "local",
            "dataset_type": "image",
            "instance_data_dir": f"/data/{dataset_id}",
            "caption_strategy": "textfile",
            "resolution": 64,
            "resolution_type": "pixel",
        }
        for dataset_id in dataset_ids
    ]


def submission(dataset_id: str, *, steps: int = 6) -> dict[str, Any]:
    """The body of a submit."""
    return {"config": training_config(steps), "dataloader_config": dataloader(dataset_id)}
