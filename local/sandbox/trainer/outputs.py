"""What a run leaves in its output directory: checkpoints and validation pictures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from PIL import Image
from safetensors.numpy import save

from local.sandbox.trainer.config import TrainingConfig
from local.sandbox.trainer.model import Adapter

WEIGHTS = "pytorch_lora_weights.safetensors"
MANIFEST = "checkpoint_manifest.json"
GUARD = ".guard"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def save_weights(adapter: Adapter, folder: Path) -> Path:
    """The adapter as one safetensors file; its metadata says plainly where it comes from."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS
    metadata = {
        "format": "pt",
        "modelspec.architecture": f"{adapter.family}/lora",
        "lora_rank": str(adapter.rank),
        "lora_alpha": f"{adapter.alpha:g}",
        "trained_by": "local sandbox: a small CPU model, of no use for making pictures",
    }
    tensors = {name: tensor.copy() for name, tensor in adapter.tensors().items()}
    path.write_bytes(_sorted_header(save(tensors, metadata=metadata)))
    return path


def _sorted_header(data: bytes) -> bytes:
    """The same file with its header's keys in order: safetensors writes metadata in a random one, and a seed is to
    repeat a file byte for byte (https://github.com/huggingface/safetensors, ``Metadata`` holds a HashMap)."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def save_checkpoint(adapter: Adapter, config: TrainingConfig, output: Path, *, step: int, epoch: int) -> Path:
    """``checkpoint-<step>/``: weights, training state, manifest and, last, the guard that says it is complete."""
    folder = output / f"checkpoint-{step}"
    save_weights(adapter, folder)
    state = {"global_step": step, "epoch": epoch, "epoch_step": 0, "repeats": {}, "exhausted_backends": []}
    _write_json(folder / "training_state.json", state)
    manifest = {
        "version": 1,
        "checkpoint": folder.name,
        "files": sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
        "metadata": {"model_family": config.model_family, "model_type": config.model_type},
    }
    _write_json(folder / MANIFEST, manifest)
    (folder / GUARD).write_text("complete\n", encoding="utf-8")
    _prune(output, config.checkpoints_kept)
    return folder


def save_sample(adapter: Adapter, prompt: str, output: Path, *, step: int, number: int, size: tuple[int, int]) -> Path:
    """What the adapter makes of ``prompt``, as a PNG under SimpleTuner's name for it."""
    folder = output / "validation_images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step}_validation_{number}_{size[0]}x{size[1]}.png"
    Image.fromarray(adapter.picture(prompt)).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def _prune(output: Path, kept: int) -> None:
    """Removes the oldest checkpoints beyond ``kept`` (0: keeps all). What was published stays published."""
    found = {int(m[1]): p for p in output.iterdir() if (m := _CHECKPOINT.fullmatch(p.name))}
    for step in sorted(found)[:-kept] if kept else []:
        shutil.rmtree(found[step])


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
