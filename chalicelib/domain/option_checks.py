"""Options of a config by themselves: do they exist, do their values have the right type and one of the choices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.number_ranges import OF_LORAS, OF_RUNS, Range, is_placeholder
from chalicelib.domain.simpletuner_options import Option, Options, closest
from chalicelib.domain.wording import count_text

CHECK = "options"
#: Old names that SimpleTuner still reads and that this service reads too.
READ_HERE = frozenset({"checkpointing_steps", "validation_steps"})
#: Outside the limits of its forms, and meant so: -1 asks for a new seed each time.
_FREE = frozenset({"seed"})
#: Checked as a group, with the steps and the epochs.
_OWN_RULES = frozenset({"max_train_steps", "num_train_epochs", *READ_HERE})
#: Names that people put into the config and that belong into an entry of the dataloader.
_OF_ENTRIES = frozenset(
    {
        *(
            "instance_data_dir",
            "instance_data_root",
            "dataset_type",
            "crop",
            "crop_aspect",
            "crop_style",
            "probability",
        ),
        *("metadata_backend", "conditioning_data", "is_regularisation_data", "dataset_name", "cache_dir_vae"),
    }
)
_TRUE = frozenset({"1", "true", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "no", "n", "off"})
_WHOLE = re.compile(r"\s*[+-]?\d{1,30}\s*")
MAX_SHOWN = 60
MAX_CHOICES = 12
#: Unknown options that are told of one by one; looking for what each was meant to be takes a millisecond.
MAX_UNKNOWN = 30

_finding = partial(Finding, check=CHECK)


def check_options(config: Mapping[str, Any], known: Options) -> Iterator[Finding]:
    """Findings about each option of ``config`` (names without dashes)."""
    unknown = 0
    ranges = {**OF_RUNS, **(OF_LORAS if config.get("model_type") == "lora" else {})}
    for name, value in config.items():
        option = known.options.get(name)
        if option is not None:
            yield from _value(option, value, known, ranges.get(name))
        elif name in known.ignored:
            yield _finding(
                level=Level.NOTE,
                code="option_ignored",
                field=f"config.{name}",
                message=f"{name} has no effect on a training.",
                advice="It can be left out.",
            )
        elif name not in READ_HERE:
            unknown += 1
            if unknown <= MAX_UNKNOWN:
                yield _unknown(name, known)
    if unknown > MAX_UNKNOWN:
        yield _finding(
            level=Level.WARNING,
            code="unknown_options",
            field="config",
            message=f"{count_text(unknown, 'option is', 'options are')} unknown to SimpleTuner {known.version}.",
            advice="Is this a config of SimpleTuner? Its options are in OPTIONS.md.",
        )


def _unknown(name: str, known: Options) -> Finding:
    shown = name[:MAX_SHOWN]
    if name in _OF_ENTRIES:
        advice = "It is an option of a dataset: move it into its entry in the dataloader."
    else:
        meant = closest(name, known.options)
        advice = f"Did you mean {meant}?" if meant else "Leave it out, or look it up in SimpleTuner's OPTIONS.md."
    return _finding(
        level=Level.WARNING,
        code="unknown_option",
        field=f"config.{shown}",
        message=f"SimpleTuner {known.version} has no option {shown}. A trainer that does not know it ends at once.",
        advice=advice,
    )


def _value(option: Option, value: Any, known: Options, allowed: Range | None) -> Iterator[Finding]:
    if value is None or value == "" or is_placeholder(value):
        return
    if isinstance(value, list) and option.type != "json" and option.name != "report_to":
        for one in value[:20]:
            if not isinstance(one, list):
                yield from _value(option, one, known, allowed)
        return
    if isinstance(value, list | dict):
        return
    wrong = _type_problem(option.type, value)
    if wrong is not None and option.name not in _OWN_RULES:
        yield _finding(
            level=Level.ERROR,
            code="wrong_type",
            field=f"config.{option.name}",
            message=f"{option.name} {wrong if allowed is None else f'must be {allowed}'}.",
            advice=f"The trainer refuses it. Its default is {option.default}."
            if option.default is not None
            else "The trainer refuses it: mend it, or leave it out.",
        )
        return
    amount = number(value)
    if allowed is not None and amount is not None and not allowed.holds(amount):
        yield _finding(
            level=Level.ERROR,
            code="out_of_range",
            field=f"config.{option.name}",
            message=f"{option.name} is {amount:g}, and must be {allowed}.",
            advice="Mend it, or leave it out."
            if option.default is None
            else f"Mend it, or leave it out for SimpleTuner's default, {option.default}.",
        )
        return
    yield from _choice(option, value, known)
    yield from _limits(option, value)


def _type_problem(kind: str, value: Any) -> str | None:
    """Why the trainer's command line can't read ``value``, or None."""
    if kind == "bool":
        if isinstance(value, bool) or str(value).strip().lower() in _TRUE | _FALSE:
            return None
        return "must be true or false"
    if kind == "int":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole or (isinstance(value, str) and _WHOLE.fullmatch(value)) else "must be a whole number"
    if kind == "float":
        return None if number(value) is not None else "must be a number"
    if value is True:
        return "must be a text, not true"
    return None


def _choice(option: Option, value: Any, known: Options) -> Iterator[Finding]:
    choices = tuple(known.optimizers) if option.name == "optimizer" else option.choices
    text = str(value)
    if option.name == "model_family":
        text = text.strip().lower()
    if option.name == "lr_scheduler" and text.strip().lower() == "cosine_with_warmup":
        return
    if not choices or text in choices:
        return
    meant = closest(text, choices)
    some = ", ".join(choices[:MAX_CHOICES]) + (", …" if len(choices) > MAX_CHOICES else "")
    yield _finding(
        level=Level.WARNING,
        code="unknown_choice",
        field=f"config.{option.name}",
        message=f"SimpleTuner {known.version} has no {option.name} '{text[:MAX_SHOWN]}'. A trainer that does not know "
        "it ends at once.",
        advice=f"Did you mean {meant}?" if meant else f"It has: {some}.",
    )


def _limits(option: Option, value: Any) -> Iterator[Finding]:
    amount = None if option.name in _FREE or option.type not in {"int", "float"} else number(value)
    if amount is None:
        return
    below = option.low is not None and amount < option.low
    above = option.high is not None and amount > option.high
    if not below and not above:
        return
    limit = f"at least {option.low:g}" if below else f"at most {option.high:g}"
    yield _finding(
        level=Level.NOTE,
        code="unusual_value",
        field=f"config.{option.name}",
        message=f"{option.name} {amount:g} is outside what SimpleTuner's own forms take ({limit}).",
        advice="Make sure that it is meant so.",
    )


#: No option of a training is beyond this, and sums, products and squares of what is within stay finite.
MAX_NUMBER = 1e18


def number(value: Any) -> float | None:
    """``value`` as a number from -MAX_NUMBER to MAX_NUMBER, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if -MAX_NUMBER <= amount <= MAX_NUMBER else None


def truth(value: Any) -> bool:
    """Whether the trainer takes ``value`` for true."""
    return value is True or (not isinstance(value, bool) and str(value).strip().lower() in _TRUE)
