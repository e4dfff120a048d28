"""What is told of a job to those who get its model: for model cards and events. Pure, and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.domain.escrow import FileKind, Manifest
from chalicelib.domain.jobs import Job, JobInput
from chalicelib.domain.simpletuner_options import options

_AS_IS = {
    "model_family": "model_family",
    "model_flavour": "model_flavour",
    "model_type": "model_type",
    "lora_type": "lora_type",
    "resolution": "resolution",
    "learning_rate": "learning_rate",
    "train_batch_size": "batch_size",
    "optimizer": "optimizer",
    "lr_scheduler": "lr_scheduler",
    "mixed_precision": "mixed_precision",
    "base_model_precision": "base_model_precision",
    "seed": "seed",
    "validation_prompt": "validation_prompt",
    "model_card_safe_for_work": "safe_for_work",
    "model_card_note": "note",
}
_TRIGGERS = ("instance_prompt", "trigger_word")
MAX_TEXT = 2_000


def shipment_facts(job: Job, job_input: JobInput | None, manifest: Manifest) -> dict[str, Any]:
    """JSON values only; what is not known is left out.

    ``base_model`` (the Hub's name), ``model_family``, ``model_flavour``, ``model_type``, ``lora_type``, ``steps``,
    ``rank``, ``resolution``, ``learning_rate``, ``batch_size``, ``optimizer``, ``lr_scheduler``, ``mixed_precision``,
    ``base_model_precision``, ``seed``, ``validation_prompt``, ``trigger`` (what to write into a prompt),
    ``safe_for_work``, ``note``, ``datasets`` (list of id, version, files, bytes), ``run_name``, ``hardware``,
    ``trained_seconds``, ``completed_at`` (ISO 8601), ``weights`` (list of path as published, size, sha256, rank).
    """
    config = job_input.config if job_input is not None else {}
    ranks = {f.rank for f in manifest.files if f.kind is FileKind.WEIGHTS and f.rank is not None}
    facts: dict[str, Any] = {
        "base_model": config.get("pretrained_model_name_or_path")
        or options().base_model(config.get("model_family"), config.get("model_flavour")),
        "steps": job.max_train_steps,
        "rank": ranks.pop() if len(ranks) == 1 else config.get("lora_rank"),
        "trigger": _trigger(config, job_input.dataloader if job_input is not None else []),
        "datasets": [
            {"id": d.dataset_id, "version": d.version_id, "files": d.files, "bytes": d.bytes} for d in job.datasets
        ],
        "run_name": job.run_name,
        "hardware": job.hardware_type,
        "trained_seconds": job.run_seconds,
        "completed_at": job.completed_at.isoformat() if job.completed_at else None,
        "weights": [
            {"path": f.path, "size": f.size, "sha256": f.sha256, "rank": f.rank}
            for f in manifest.files
            if f.kind is FileKind.WEIGHTS
        ],
        **{fact: config.get(option) for option, fact in _AS_IS.items()},
    }
    return {name: _short(value) for name, value in facts.items() if value not in (None, "")}


def _trigger(config: Mapping[str, Any], dataloader: list[dict[str, Any]]) -> str | None:
    for entry in ({**config}, *dataloader):
        for name in _TRIGGERS:
            value = entry.get(name)
            if isinstance(value, str) and value.strip():
                return value.strip()
    return None


def _short(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value
