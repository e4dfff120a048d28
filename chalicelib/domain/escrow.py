"""Keys of a job's escrow: everything of one job lies below one prefix of the outputs bucket."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-(\d+)/")


class FileKind(StrEnum):
    WEIGHTS = "weights"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    OTHER = "other"


class OutputFile(BaseModel):
    """One published file: ``path`` below the artifacts prefix, ``size`` in bytes, ``sha256`` once read back.

    ``tensors`` and ``dtypes`` come from the safetensors header; ``problem`` says why a file is not sound.
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


def manifest_key(owner: str, job_id: str) -> str:
    return f"{owner}/{job_id}/manifest.json"


def log_key(owner: str, job_id: str, size: int) -> str:
    """One immutable object per length: the record's ``log_bytes`` names the current one, so a slow writer can't
    overwrite a longer log with a shorter one."""
    return f"{owner}/{job_id}/logs/{size:012d}.log"


def scratch_prefix(owner: str, job_id: str) -> str:
    """In the datasets bucket: where the trainer may write beside the data (bucket indices, metadata)."""
    return f"_scratch/{owner}/{job_id}/"


def file_kind(path: str, last_step: int | None) -> FileKind:
    """What a published path is. Weights are safetensors of the last step's checkpoint, or outside any checkpoint."""
    checkpoint = _CHECKPOINT.search(path)
    if path.endswith(".safetensors"):
        if checkpoint is None or (last_step is not None and int(checkpoint.group(1)) == last_step):
            return FileKind.WEIGHTS
        return FileKind.CHECKPOINT
    if checkpoint:
        return FileKind.CHECKPOINT
    if path.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".mp4", ".gif")):
        return FileKind.SAMPLE
    return FileKind.OTHER
