"""Keys of a job's escrow: everything of one job lies below one prefix of the outputs bucket."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-(\d+)/")
#: Files and folders of a checkpoint that are not the model: optimizer and scheduler state, exponential moving average.
_BESIDE_THE_MODEL = re.compile(r"(?:^|/)(?:optimizer|scheduler|random_states|sampler|ema)[^/]*", re.IGNORECASE)
FINAL_LORA = "pytorch_lora_weights.safetensors"
#: The longest time in escrow that can be set, in days; without one the model is kept.
MAX_ESCROW_DAYS = 3650
_SHARD = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors$")
#: More shards than any model has; a name that says more is not believed.
_MAX_SHARDS = 1000


class FileKind(StrEnum):
    WEIGHTS = "weights"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    OTHER = "other"


class TensorChecks(BaseModel):
    """What was looked at in a safetensors file's data. ``examined_bytes`` were looked at for NaN and infinity (``nan``,
    ``inf`` of them); zeros were looked for in all of it."""

    model_config = ConfigDict(frozen=True)

    examined_bytes: int
    nan: int
    inf: int
    zero_tensors: int


class OutputFile(BaseModel):
    """One published file: ``path`` below the artifacts prefix, ``size`` in bytes, ``sha256`` once read back.

    ``tensors`` and ``dtypes`` come from the safetensors header, ``checks`` from its data; ``problem`` says why a file
    is not sound, ``warnings`` what is strange about one that is.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    kind: FileKind
    sha256: str | None = None
    tensors: int | None = None
    parameters: int | None = None
    dtypes: tuple[str, ...] = ()
    rank: int | None = None
    checks: TensorChecks | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def verified(self) -> bool:
        return self.sha256 is not None and self.problem is None


class Manifest(BaseModel):
    """What was delivered, as written beside the files (``manifest.json``)."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    created_at: str
    complete: bool
    files: tuple[OutputFile, ...]


def job_prefix(owner: str, job_id: str) -> str:
    return f"{owner}/{job_id}/"


def artifacts_prefix(owner: str, job_id: str) -> str:
    """Where the trainer publishes; its credentials can write here and nowhere else."""
    return f"{owner}/{job_id}/artifacts/"


def manifest_key(owner: str, job_id: str, *, complete: bool = True) -> str:
    """``complete`` manifests come from Verify; others list what was published when the job ended without it."""
    return f"{owner}/{job_id}/manifest.json" if complete else f"{owner}/{job_id}/manifest.partial.json"


def log_key(owner: str, job_id: str, size: int) -> str:
    """One immutable object per length: the record's ``log_bytes`` names the current one, so a slow writer can't
    overwrite a longer log with a shorter one."""
    return f"{owner}/{job_id}/logs/{size:012d}.log"


def scratch_prefix(owner: str, job_id: str) -> str:
    """In the datasets bucket: where the trainer may write beside the data (bucket indices, metadata)."""
    return f"_scratch/{owner}/{job_id}/"


def file_kind(path: str, last_step: int | None) -> FileKind:
    """What a published path is. Weights are the model's safetensors in the last step's checkpoint, and the final LoRA
    that SimpleTuner writes outside any; not the optimizer's, nor the moving average's."""
    checkpoint = _CHECKPOINT.search(path)
    if checkpoint:
        last = last_step is not None and int(checkpoint.group(1)) == last_step
        model = path.endswith(".safetensors") and not _BESIDE_THE_MODEL.search(path[checkpoint.end() :])
        return FileKind.WEIGHTS if last and model else FileKind.CHECKPOINT
    if path.split("/")[-1] == FINAL_LORA and not _BESIDE_THE_MODEL.search(path):
        return FileKind.WEIGHTS
    if path.endswith(".safetensors"):
        return FileKind.OTHER
    if path.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".mp4", ".gif")):
        return FileKind.SAMPLE
    return FileKind.OTHER


def missing_shards(paths: Iterable[str]) -> list[str]:
    """The shards that names like ``model-00001-of-00003.safetensors`` promise and that are not among ``paths``."""
    there = set(paths)
    missing: list[str] = []
    for path in sorted(there):
        shard = _SHARD.match(path)
        if shard is None or not 0 < int(shard["count"]) <= _MAX_SHARDS:
            continue
        others = (
            f"{shard['stem']}-{number:05d}-of-{shard['count']}.safetensors"
            for number in range(1, int(shard["count"]) + 1)
        )
        missing += [name for name in others if name not in there and name not in missing]
    return missing
