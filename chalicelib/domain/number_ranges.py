"""Numbers that can't be: what a run's options and a dataset's settings must lie within, whatever the trainer's version.

SimpleTuner's own forms have narrower limits, which are told as notes only (``option_checks.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PLACEHOLDER = re.compile(r"\{[^{}]+\}")


@dataclass(frozen=True)
class Range:
    """From ``low`` (or above it, when ``above``) to ``high``, both included; ``whole`` numbers only."""

    low: float
    high: float | None = None
    above: bool = False
    whole: bool = False

    def holds(self, amount: float) -> bool:
        over = amount > self.low if self.above else amount >= self.low
        return over and (self.high is None or amount <= self.high) and not (self.whole and amount != int(amount))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.above:
            return f"{kind} above {self.low:g}" + ("" if self.high is None else f" and at most {self.high:,g}")
        return f"{kind}, {self.low:g} or more" if self.high is None else f"{kind} from {self.low:g} to {self.high:,g}"


#: Far beyond what anybody trains with, and small enough to reckon with.
_MANY = 100_000
_COUNT = Range(1, _MANY, whole=True)
_SHARE = Range(0, 1)
_SIZE = Range(0, _MANY)
_RESOLUTION = Range(0, _MANY, above=True)
_BATCHES = ("train_batch_size", "vae_batch_size", "read_batch_size", "write_batch_size", "image_processing_batch_size")
_SIZES = ("minimum_image_size", "maximum_image_size", "target_downsample_size")

OF_RUNS: Mapping[str, Range] = {
    **dict.fromkeys((*_BATCHES, "gradient_accumulation_steps", "validation_num_inference_steps"), _COUNT),
    **dict.fromkeys(_SIZES, _SIZE),
    **dict.fromkeys(("caption_dropout_probability", "ema_decay", "input_perturbation"), _SHARE),
    "learning_rate": Range(0, above=True),
    "resolution": _RESOLUTION,
    "lr_warmup_steps": Range(0, whole=True),
}
#: They mean something for a LoRA alone.
OF_LORAS: Mapping[str, Range] = {"lora_rank": _COUNT, "lora_alpha": Range(0, above=True), "lora_dropout": _SHARE}
OF_ENTRIES: Mapping[str, Range] = {
    **dict.fromkeys(_BATCHES, _COUNT),
    **dict.fromkeys(_SIZES, _SIZE),
    "resolution": _RESOLUTION,
    "repeats": Range(0, _MANY, whole=True),
    "probability": _SHARE,
}
#: Aspect ratios, width through height.
ASPECT = Range(0.01, 100)


def is_placeholder(value: Any) -> bool:
    """Whether the trainer fills something in here."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None
