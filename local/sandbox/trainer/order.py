"""What the server asks of one run, as it arrives on standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Order:
    """``parent`` is the server's process id, ``given`` the Cog inputs, ``faults`` the seeded faults by kind with their
    options, ``step_seconds`` the pace of a step (0: as fast as possible), ``seed`` holds where the config has none."""

    parent: int
    prediction_id: str
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    step_seconds: float = 0.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str | bytes) -> Order:
        """Raises ValueError, KeyError or TypeError on anything else than the server's own words."""
        document = json.loads(text)
        return cls(
            parent=int(document["parent"]),
            prediction_id=str(document["prediction_id"]),
            given=dict(document["input"]),
            faults=dict(document["faults"]),
            step_seconds=float(document["step_seconds"]),
            seed=int(document["seed"]),
        )

    @property
    def pace(self) -> float:
        """Seconds a step takes, the fault plan's ``pace`` included."""
        fault = self.faults.get("pace")
        return float(fault["seconds"]) if fault else self.step_seconds

    def strikes_at(self, kind: str, steps: int) -> int | None:
        """The step from 1 at which a fault with the option ``at`` (a fraction of the run) strikes, None without it."""
        fault = self.faults.get(kind)
        return None if fault is None else max(1, min(steps, round(float(fault["at"]) * steps)))
