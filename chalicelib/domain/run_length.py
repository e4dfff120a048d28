"""Steps × batch × accumulation × repeats × data: what a run comes to, and what is odd about it. And how long it takes.

SimpleTuner counts ``repeats`` from 0, as extra passes; a step takes one batch on each GPU,
``gradient_accumulation_steps`` times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.entry_checks import Entry
from chalicelib.domain.option_checks import number
from chalicelib.domain.simpletuner_options import Options
from chalicelib.domain.wording import about_text, count_text

CHECK = "length"
MAX_PASSES = 200
#: Fewer pictures are seen unevenly in a short trial run, and nothing is wasted.
MANY_PICTURES = 50
_CENT = Decimal("0.01")
_GPUS = re.compile(r"-x(\d{1,2})$")


@dataclass(frozen=True)
class Media:
    """What one entry brings: its pictures, films or sounds."""

    entry: Entry
    count: int


@dataclass(frozen=True)
class Length:
    """``samples`` are shown to the model in all; ``per_pass`` is once through all data, None when some of it can't be
    counted. ``given`` is False when the batch size is SimpleTuner's default."""

    steps: int
    batch: int
    accumulation: int
    gpus: int
    given: bool
    per_pass: int | None

    @property
    def samples(self) -> int:
        return self.steps * self.batch * self.accumulation * self.gpus

    @property
    def passes(self) -> float | None:
        return self.samples / self.per_pass if self.per_pass else None


@dataclass(frozen=True)
class Guess:
    """Seconds of a run: at least, likely, at most; ``basis`` says where that comes from. Always an estimate."""

    low: float
    likely: float
    high: float
    basis: str
    measured: bool


@dataclass(frozen=True)
class PastRun:
    """A run that completed: its billed seconds and its samples."""

    seconds: float
    samples: int


def gpus_of(profile_id: str) -> int:
    """GPUs of a hardware profile: ``h100-x4`` has four."""
    found = _GPUS.search(profile_id)
    return int(found[1]) if found else 1


def length_of(
    config: Mapping[str, Any], steps: int, profile_id: str, media: Sequence[Media], known: Options, *, whole: bool
) -> Length:
    """``media`` of the entries that are learned from; ``whole`` when that is all of them."""
    batch = _positive(config.get("train_batch_size"))
    per_pass = sum(m.count * (repeats_of(m.entry) + 1) for m in media) if whole and media else None
    return Length(
        steps=steps,
        batch=batch or _positive(known.default("train_batch_size")) or 1,
        accumulation=_positive(config.get("gradient_accumulation_steps")) or 1,
        gpus=gpus_of(profile_id),
        given=batch is not None,
        per_pass=per_pass,
    )


def counts_make_sense(config: Mapping[str, Any]) -> bool:
    """Whether the batch and the accumulation, as far as they are given, are whole numbers from 1. Another check tells
    of those that are not, and nothing is reckoned with them."""
    given = [config.get(name) for name in ("train_batch_size", "gradient_accumulation_steps")]
    return all(value in (None, "") or _is_count(value) for value in given)


def _is_count(value: Any) -> bool:
    count = _positive(value)
    return count is not None and count == number(value)


def repeats_of(entry: Entry) -> int:
    amount = number(entry.data.get("repeats"))
    return int(amount) if amount is not None and 0 < amount <= 1e5 else 0


def check_length(length: Length, media: Sequence[Media]) -> Iterator[Finding]:
    for one in media:
        yield from _batch(length, one)
    passes = length.passes
    if passes is None:
        return
    together = length.batch * length.accumulation * length.gpus
    said = f"{count_text(length.steps, 'step')} × {together:,} = {count_text(length.samples, 'sample')}"
    if not length.given:
        said += f" (train_batch_size is not set; SimpleTuner's default is {length.batch})"
    said += f", {about_text(passes, 'pass', 'passes')} over {count_text(length.per_pass or 0, 'picture')}"
    if passes > MAX_PASSES:
        fewer = max(1, round(length.steps * MAX_PASSES / passes))
        yield Finding(
            Level.WARNING if length.given else Level.NOTE,
            "too_many_passes",
            CHECK,
            "config.max_train_steps",
            f"{said}: by then the model knows the pictures by heart.",
            f"{count_text(fewer, 'step')} {'is' if fewer == 1 else 'are'} {MAX_PASSES} passes.",
        )
    elif passes < 1:
        many = (length.per_pass or 0) >= MANY_PICTURES
        yield Finding(
            Level.WARNING if length.given and many else Level.NOTE,
            "not_seen_once",
            CHECK,
            "config.max_train_steps",
            f"{said}: some of it is never looked at.",
            f"One pass takes {count_text(round(length.steps / passes), 'step')}.",
        )
    else:
        yield Finding(Level.NOTE, "passes", CHECK, "config.max_train_steps", f"{said}.", "")


def _batch(length: Length, one: Media) -> Iterator[Finding]:
    if not counts_make_sense({"train_batch_size": one.entry.data.get("train_batch_size")}):
        return
    own = _positive(one.entry.data.get("train_batch_size"))
    least = (own or length.batch) * length.accumulation * length.gpus
    there = one.count * (repeats_of(one.entry) + 1)
    if one.count == 0 or there >= least:
        return
    repeats = -(-least // one.count) - 1
    found = one.entry.finding(
        Level.ERROR if own or length.given else Level.NOTE,
        "fewer_than_batch",
        "repeats",
        f"{count_text(there, 'picture')} can't fill a batch of {least}, and then the trainer refuses to start."
        + ("" if own or length.given else f" (train_batch_size is not set; its default is {length.batch}.)"),
        f"Set train_batch_size to {max(1, there // (length.accumulation * length.gpus))}, or repeats to {repeats}.",
    )
    yield replace(found, check=CHECK)


#: A rule of thumb, not measured: seconds that one sample of 1,024² pixels takes to learn on an H100, and what other
#: hardware takes of that. For models of 2 to 12 billion parameters.
_SECONDS = (0.4, 2.0, 4.0)
_SLOWER = {"h100": 1.0, "l40s": 2.0}
#: Loading the model, and encoding each picture once.
_START = (180.0, 480.0, 1200.0)
_ENCODE = (0.1, 0.5, 1.5)
#: How much longer or shorter than the runs before it a run may be.
_SPREAD = 1.5


def guess(length: Length, profile_id: str, resolution: float, media: int, past: Sequence[PastRun]) -> Guess:
    """How long the run may take, from ``past`` runs of the same model on the same hardware when there are any."""
    usable = [run for run in past if run.samples > 0 and run.seconds > 0]
    if usable:
        rates = sorted(run.seconds / run.samples for run in usable)
        low, likely, high = (r * length.samples for r in (rates[0], rates[len(rates) // 2], rates[-1]))
        runs = "run" if len(usable) == 1 else f"{len(usable)} runs"
        basis = f"your last {runs} of this model on this hardware"
        return Guess(low / _SPREAD, likely, high * _SPREAD, basis, measured=True)
    slower = _SLOWER.get(profile_id.partition("-")[0], 1.5)
    size = min(16.0, max(0.05, (resolution / 1024) ** 2))
    each = length.samples / length.gpus
    low, likely, high = (
        start + encode * media + seconds * slower * size * each
        for start, encode, seconds in zip(_START, _ENCODE, _SECONDS, strict=True)
    )
    return Guess(
        low, likely, high, "a rule of thumb, not measured: nothing like it has been trained here", measured=False
    )


def dollars(seconds: float, price_per_second: Decimal) -> Decimal:
    """US dollars, to the cent."""
    return (Decimal(str(round(seconds, 3))) * price_per_second).quantize(_CENT, ROUND_HALF_UP)


def _positive(value: Any) -> int | None:
    amount = number(value)
    return int(amount) if amount is not None and 1 <= amount < 1e9 else None
