"""What the trainer's raw log says: steps, loss, estimated end, stages, checkpoints.

Under Cog, SimpleTuner shows its steps only in tqdm's bar, redrawn with carriage returns and mixed with plain lines:

    Epoch 1/1 Steps:  25%|##5       | 250/1000 [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=0.123]
    [STAGE] ⏳ VAE caching (50.0%)
    [CHECKPOINT] Checkpoint saved

Everything here is one pass over the text with bounded patterns, so its time grows with the length of the log alone,
and takes any text: cut at both ends, several bars on a line, terminal escapes, broken characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.domain.jobs import Progress

TRAINING = "Training"
#: The stage of a training whose last reported loss is NaN or infinite. ``Progress.loss`` is None then, because neither
#: is a number in JSON or DynamoDB.
DIVERGED = "Training (loss is not finite)"
MAX_POINTS = 500
MAX_LINE = 300
MAX_STAGE = 80
#: No estimate is believed beyond this; no training may run that long.
MAX_ETA_SECONDS = 10 * 24 * 3600

_LOSS_KEYS = ("step_loss", "loss", "train_loss")
_RATE_KEYS = ("lr", "learning_rate")

_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|\x1b")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
# The steps' bar and no other: "Epoch 1/1" is never read as progress, and the bars of caching, downloading and
# validation have other names. " [" behind the total proves that the total was not cut. What is inside is only looked
# at, not consumed: where the end of a bar was lost, the next one follows.
_STEPS = re.compile(
    r"(?:^|Epoch\s{1,3}\d{1,9}/\d{1,9},?)\s{0,3}Steps:\s{0,8}\d{1,3}%\|[^|]{0,400}\|"
    r"\s{0,12}(?P<step>\d{1,9})/(?P<total>\d{1,9})\s{1,3}\[(?=(?P<inside>[^\]\[|]{0,1000}\]?))",
    re.ASCII,
)
# A comma or bracket behind each value proves that it was not cut.
_ETA = re.compile(
    r"<(?:(?P<unknown>\?)|(?:(?P<d>\d{1,4})\s?d(?:ays?)?,?\s?)?(?:(?P<h>\d{1,6}):)?(?P<m>\d{1,2}):(?P<s>\d{2}))(?=[,\]])",
    re.ASCII,
)
_PAIR = re.compile(r", (?P<key>\w{1,40})=(?P<value>[^,\]\s]{1,40})(?=[,\]])", re.ASCII)
_EVENT = re.compile(r"\[(?P<kind>STAGE|CHECKPOINT|TRAINING)\](?P<text>[^\[]{0,300})")
_ANY_BAR = re.compile(
    r"(?P<name>[^%]{0,200}?)\s{0,8}\d{1,3}%\|[^|]{0,400}\|\s{0,12}[^\s\[]{1,40}\s{1,3}\[[^\]\[|]{0,1000}\]"
)


@dataclass(frozen=True)
class _Bar:
    """One drawing of the steps' bar. ``eta`` is None when tqdm does not know it or it was cut."""

    step: int
    total: int
    eta: int | None
    loss: float | None
    rate: float | None


def parse_progress(logs: str, previous: Progress | None = None) -> Progress:
    """The progress after ``logs``, which is a snapshot of the log: usually all of it, sometimes a window.

    ``previous`` is what earlier snapshots said. Steps and checkpoints never go backwards; what this snapshot does not
    mention stays as it was. A loss or rate that is not finite becomes None (see ``has_diverged``). Never raises.
    """
    known = previous or Progress()
    step, total, loss, rate, eta = known.step, known.total_steps, known.loss, known.learning_rate, known.eta_seconds
    stage, last_line = known.stage, known.last_line
    finite, checkpoints = not has_diverged(known), 0
    for line in _lines(logs):
        for bar in _bars(line):
            if step is None or bar.step >= step:
                step, total, eta = bar.step, bar.total, bar.eta
                rate = rate if bar.rate is None else _finite(bar.rate)
                if bar.loss is not None:
                    loss, finite = _finite(bar.loss), math.isfinite(bar.loss)
            stage = TRAINING if finite else DIVERGED
        if "[" in line:
            for event in _EVENT.finditer(line):
                checkpoints += event["kind"] == "CHECKPOINT"
                stage = _stage_of(event["kind"], event["text"]) or stage
        last_line = line
    return Progress(
        step=step,
        total_steps=total,
        loss=loss,
        learning_rate=rate,
        eta_seconds=eta,
        stage=stage,
        last_line=_shown(last_line) if last_line is not None else None,
        checkpoint_count=max(known.checkpoint_count, checkpoints),
    )


def has_diverged(progress: Progress) -> bool:
    """Whether the last loss the trainer reported while training was NaN or infinite."""
    return progress.stage == DIVERGED


def loss_points(logs: str, *, max_points: int = MAX_POINTS) -> list[tuple[int, float]]:
    """(step, loss) for a chart: steps ascending, finite losses only, the last report of each step.

    More than ``max_points`` (at least 2) are thinned out evenly; the first and the last always stay.
    """
    if max_points < 2:
        raise ValueError("a chart needs two points at least")
    points: dict[int, float] = {}
    highest = -1
    for line in _lines(logs):
        for bar in _bars(line):
            if bar.step >= highest and bar.loss is not None and math.isfinite(bar.loss):
                highest = bar.step
                points[bar.step] = bar.loss
    every = list(points.items())
    if len(every) <= max_points:
        return every
    return [every[i * (len(every) - 1) // (max_points - 1)] for i in range(max_points)]


def display_logs(raw: str) -> str:
    """``raw`` as a person wants to read it: of redraws of one bar only the last, no terminal escapes.

    Nothing else is dropped: text that the trainer printed behind a bar gets its own line. Applying it twice changes
    nothing more.
    """
    shown: list[str] = []
    drawn: str | None = None
    for line in _ESCAPES.sub("", raw).replace("\r\n", "\n").split("\n"):
        for piece, name in _pieces(line):
            if name is not None and name == drawn:
                shown[-1] = piece
            else:
                shown.append(piece)
            drawn = name
    return "\n".join(shown)


def _pieces(line: str) -> Iterator[tuple[str, str | None]]:
    """The parts of one line, each with the name of the bar it is, or None; one empty part for an empty line."""
    empty = True
    for part in line.split("\r"):
        rest = part
        while "%|" in rest and (bar := _ANY_BAR.match(rest)):
            yield bar[0], bar["name"].strip()
            empty, rest = False, rest[bar.end() :]
        if rest.strip():
            yield rest, None
            empty = False
    if empty:
        yield "", None


def _lines(logs: str) -> Iterator[str]:
    """Lines and redraws in order, without escapes and outer blanks; no empty ones."""
    text = _ESCAPES.sub("", logs) if "\x1b" in logs else logs
    for line in text.replace("\r", "\n").split("\n"):
        if stripped := line.strip():
            yield stripped


def _bars(line: str) -> Iterator[_Bar]:
    if "Steps:" not in line:
        return
    for match in _STEPS.finditer(line):
        step, total, inside = int(match["step"]), int(match["total"]), match["inside"]
        if not 0 < total >= step:
            continue
        values = {pair["key"]: _number(pair["value"]) for pair in _PAIR.finditer(inside)}
        yield _Bar(
            step=step, total=total, eta=_eta(inside), loss=_first(values, _LOSS_KEYS), rate=_first(values, _RATE_KEYS)
        )


def _eta(inside: str) -> int | None:
    match = _ETA.search(inside)
    if match is None or match["unknown"]:
        return None
    days, hours, minutes, seconds = (int(match[part] or 0) for part in "dhms")
    return min(MAX_ETA_SECONDS, ((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _first(values: dict[str, float | None], keys: tuple[str, ...]) -> float | None:
    return next((value for key in keys if (value := values.get(key)) is not None), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _stage_of(kind: str, text: str) -> str | None:
    """The stage an event line announces; None for one that announces none."""
    words = re.sub(r"^\W+", "", _shown(text))[:MAX_STAGE].strip()
    if kind == "STAGE":
        return words or None
    if kind == "TRAINING" and words.startswith(("Training complete", "Training failed")):
        return words
    return None


def _shown(text: str) -> str:
    return _UNPRINTABLE.sub("", text).strip()[:MAX_LINE]
