"""The training config, read as SimpleTuner 4.10.1 reads it: its defaults, its refusals, its two spellings of a key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

MAX_STEPS = 1_000_000
MAX_RANK = 4096
MAX_SIDE = 512


@dataclass(frozen=True)
class TrainingConfig:
    """What the sandbox's trainer heeds. ``checkpoint_every`` and ``validate_every`` are steps, 0 means never;
    ``epochs`` is 0 when ``max_steps`` decides; ``prompt`` is None when nothing is to be validated."""

    model_family: str
    model_type: str
    max_steps: int
    epochs: int
    rate: float
    warmup_steps: int
    rank: int
    alpha: float
    batch_size: int
    accumulation: int
    seed: int | None
    checkpoint_every: int
    checkpoints_kept: int
    validate_every: int
    prompt: str | None
    validation_sides: tuple[tuple[int, int], ...]
    output_dir: PurePosixPath
    oversubscribe: bool
    publishing: tuple[Mapping[str, Any], ...]


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping without dashes. Of a key given with and without them the one without wins, as it ends up last on
    SimpleTuner's command line."""
    merged: dict[str, Any] = {}
    for source in (base, overrides):
        for key, value in source.items():
            if key.startswith("-"):
                merged[key.lstrip("-").replace("-", "_")] = value
        merged |= {key: value for key, value in source.items() if not key.startswith("-")}
    return merged


def parse(config: Mapping[str, Any]) -> TrainingConfig:
    """From the output of ``merge``. Raises ValueError with the words of argparse or of SimpleTuner's own checks."""
    family = config.get("model_family")
    if not family:
        raise ValueError("error: the following arguments are required: --model_family")
    max_steps = _int(config, "max_train_steps", 0, most=MAX_STEPS)
    epochs = _int(config, "num_train_epochs", 1)
    if max_steps > 0 and epochs > 0:
        raise ValueError(
            "When using --max_train_steps (MAX_NUM_STEPS), you must set --num_train_epochs (NUM_EPOCHS) to 0."
        )
    if max_steps <= 0 and epochs <= 0:
        raise ValueError("You must specify either --max_train_steps or --num_train_epochs with a value > 0")
    rank = _int(config, "lora_rank", 16, least=1, most=MAX_RANK)
    prompt = str(config.get("validation_prompt") or "").strip() or None
    validate_every = _int(config, _first(config, "validation_step_interval", "validation_steps"), 100)
    return TrainingConfig(
        model_family=str(family),
        model_type=str(config.get("model_type") or "lora"),
        max_steps=max_steps,
        epochs=epochs,
        rate=_float(config, "learning_rate", 4e-7),
        warmup_steps=_int(config, "lr_warmup_steps", 0),
        rank=rank,
        alpha=_float(config, "lora_alpha", float(rank)),
        batch_size=_int(config, "train_batch_size", 4, least=1, most=512),
        accumulation=_int(config, "gradient_accumulation_steps", 1, least=1, most=512),
        seed=_int(config, "seed", 0) if config.get("seed") not in (None, "") else None,
        checkpoint_every=_int(config, _first(config, "checkpoint_step_interval", "checkpointing_steps"), 500),
        checkpoints_kept=_int(config, "checkpoints_total_limit", 5),
        validate_every=0 if _flag(config, "validation_disable") else validate_every,
        prompt=prompt,
        validation_sides=_sides(config.get("validation_resolution") or "256"),
        output_dir=_output_dir(config.get("output_dir")),
        oversubscribe=_flag(config, "allow_dataset_oversubscription"),
        publishing=_publishing(config.get("publishing_config")),
    )


def _first(config: Mapping[str, Any], *names: str) -> str:
    return next((name for name in names if config.get(name) not in (None, "", "None", 0)), names[0])


def _int(config: Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
    value = config.get(name)
    if value is None or value in ("", "None"):
        return default
    number = value if isinstance(value, float) else None
    try:
        number = number if number is not None else int(str(value))
    except ValueError:
        number = None
    if number is None or isinstance(value, bool) or not math.isfinite(number) or number != int(number):
        raise ValueError(f"error: argument --{name}: invalid int value: {value!r}")
    if not least <= number <= most:
        raise ValueError(f"error: argument --{name}: invalid value: {value!r} (between {least} and {most})")
    return int(number)


def _float(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name)
    if value is None or value in ("", "None"):
        return default
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"error: argument --{name}: invalid float value: {value!r}")
    return number


def _flag(config: Mapping[str, Any], name: str) -> bool:
    return str(config.get(name, False)).lower() in {"true", "1", "yes"}


def _sides(value: object) -> tuple[tuple[int, int], ...]:
    """``256``, ``1024x768`` or several of them with commas; at most MAX_SIDE each way, keeping the shape."""
    sides = []
    for part in str(value).split(","):
        width, _, height = part.strip().lower().partition("x")
        try:
            wide, high = int(float(width)), int(float(height or width))
        except (ValueError, OverflowError):
            raise ValueError(f"error: argument --validation_resolution: invalid value: {value!r}") from None
        if not 1 <= min(wide, high) <= max(wide, high) <= 16384:
            raise ValueError(f"error: argument --validation_resolution: invalid value: {value!r}")
        shrink = min(1.0, MAX_SIDE / max(wide, high))
        sides.append((max(16, round(wide * shrink)), max(16, round(high * shrink))))
    return tuple(sides[:4])


def _output_dir(value: object) -> PurePosixPath:
    """Below the run's own directory, whatever was asked for: an absolute path loses its root, ``..`` is refused."""
    path = PurePosixPath(str(value or "output").replace("\\", "/"))
    parts = [part for part in path.parts if part not in {"/", "."}]
    if not parts or ".." in parts:
        raise ValueError(f"error: argument --output_dir: invalid value: {value!r}")
    return PurePosixPath(*parts)


def _publishing(value: object) -> tuple[Mapping[str, Any], ...]:
    if isinstance(value, str) and value not in {"", "None"}:
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("error: argument --publishing_config: invalid value: no JSON") from None
    if value in (None, "", "None", [], {}):
        return ()
    targets = [value] if isinstance(value, Mapping) else value
    if not isinstance(targets, list) or not all(isinstance(target, Mapping) for target in targets):
        raise ValueError(f"publishing_config must be a dict or list, got {type(value).__name__}")
    return tuple(targets)
