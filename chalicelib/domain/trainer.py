"""The contract with SimpleTuner's trainer: what a submitted config becomes before a GPU sees it.

Everything here is pure. The option names and the behaviour come from SimpleTuner 4.10.1 (``cog.py``,
``data_backend/factory.py``, ``publishing/providers/s3.py``), read in its source:

- config keys come with or without leading dashes;
- ``max_train_steps`` and ``num_train_epochs`` exclude each other, and epochs default to 1, so steps need epochs 0;
- the S3 publisher runs after validations, and never on the final weights, so a checkpoint and a validation must fall
  on the last step.

What is sent to the trainer is in ``launch_payload.py``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.wording import count_text

CHECKPOINT_KEYS = ("checkpoint_step_interval", "checkpointing_steps")
VALIDATION_KEYS = ("validation_step_interval", "validation_steps")
DEFAULT_CHECKPOINT_INTERVAL = 500
DEFAULT_VALIDATION_INTERVAL = 100
MAX_STEPS = 10_000_000
MAX_CONFIG_BYTES = 100_000
MAX_DATALOADER_ENTRIES = 50
MAX_LOCAL_ENTRIES = 8
#: Entry ids and cache suffixes become parts of S3 keys, two of them in one key of 1,024 bytes at most.
MAX_ENTRY_NAME_BYTES = 100

#: Why the trainer is not asked to publish, and the options that ask for it.
NOT_THE_TRAINER = "the trainer sends nothing; this service does, from escrow, to the job's destinations"
DELIVERY_OPTIONS = (
    *("push_to_hub", "push_to_hub_background", "push_checkpoints_to_hub", "hub_model_id", "hub_token"),
    "publishing_config",
)
#: Options that this service sets itself or that mean nothing on a rented machine. Left out with a note.
_DROPPED = {
    "data_backend_config": "the dataloader is sent beside the config",
    "webhook_config": "progress comes from the trainer's log and the provider's webhooks",
    "webhook_reporting_interval": "progress comes from the trainer's log and the provider's webhooks",
    "logging_dir": "the log is kept by this service",
    **dict.fromkeys(DELIVERY_OPTIONS, NOT_THE_TRAINER),
}
_STEPS = f"must be a whole number from 1 to {MAX_STEPS}"
_WHOLE_NUMBER = f"must be a whole number of steps, {MAX_STEPS} at most"
_QUIETLY_DROPPED = frozenset({"data_backend_config", "logging_dir"})

_SECRET_KEY = re.compile(
    r"(^|_)(token|tokens|secret|password|passwd|api_?key|access_key(_id)?|secret_key|private_key|credentials?)$"
)
_SECRET_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{20,}"
    r"|stk_[A-Za-z0-9_]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16})\b"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"|(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,40}+://[^/\s:@]{1,1000}:[^/\s@]{1,1000}@"
)
#: SimpleTuner fills these in on the trainer (``configuration/template_vars.py``).
_VARIABLE = re.compile(r"\{env:[A-Za-z_][A-Za-z0-9_]{0,100}\}")
_ENTRY_NAME = re.compile(r"[^/\\\x00-\x1f\x7f\ud800-\udfff]+")
#: Of an entry of ``publishing_config``: by these a stored credential is found.
KEY_ID_OPTIONS = frozenset({"access_key", "aws_access_key_id", "access_key_id", "credential"})
#: Dataset types whose local entries are caches on the trainer's disk, not data of the user.
CACHE_DATASET_TYPES = frozenset({"text_embeds", "image_embeds", "conditioning_image_embeds", "distillation_cache"})


@dataclass(frozen=True)
class ConfigProblem:
    """One reason to refuse a config: a dotted field, what is wrong, a stable code, and what to do about it where the
    message does not show that by itself."""

    field: str
    message: str
    code: str
    advice: str = ""

    @property
    def text(self) -> str:
        """Message and advice."""
        return f"{self.message.rstrip('.')}. {self.advice}" if self.advice else self.message


@dataclass(frozen=True)
class PreparedConfig:
    """A config the trainer can run, and what was changed on the way, in words for the user."""

    config: dict[str, Any]
    max_train_steps: int
    adjustments: tuple[str, ...]


def undash(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """Keys without leading dashes; a key given both ways with different values is a problem."""
    clean: dict[str, Any] = {}
    problems = []
    for key, value in config.items():
        name = key.lstrip("-").replace("-", "_") if key.startswith("-") else key
        if not name:
            problems.append(ConfigProblem(f"config.{key}", "is no option name", "invalid_option"))
        elif name in clean and clean[name] != value:
            problems.append(
                ConfigProblem(f"config.{name}", "is given twice, with and without dashes, with two values", "duplicate")
            )
        else:
            clean[name] = value
    return clean, problems


def secret_problems(value: Any, path: str) -> Iterator[ConfigProblem]:
    """Every place below ``value`` that holds, or is named like, a key, token or password. Never repeats the value."""
    stack: list[tuple[Any, str]] = [(value, path)]
    while stack:
        node, where = stack.pop()
        if isinstance(node, Mapping):
            for key, child in node.items():
                name = str(key).lstrip("-").replace("-", "_").lower()
                here = f"{where}.{str(key).lstrip('-')}"
                if _SECRET_KEY.search(name) and not _is_harmless(child):
                    yield _secret_problem(here)
                else:
                    stack.append((child, here))
        elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
            stack.extend((child, f"{where}.{i}") for i, child in enumerate(node))
        elif isinstance(node, str) and _SECRET_VALUE.search(node):
            yield _secret_problem(where)


def _is_harmless(value: Any) -> bool:
    """No secret, whatever its name: nothing, a number, or the name of a variable that the trainer's image holds."""
    if value in (None, "", False, True) or isinstance(value, int):
        return True
    return isinstance(value, str) and bool(_VARIABLE.fullmatch(value))


def _secret_problem(where: str) -> ConfigProblem:
    return ConfigProblem(
        where,
        "looks like a secret. Configs are stored and shown in job records, so keys and tokens don't belong there",
        "secret_in_config",
        "Remove it (datasets and outputs get temporary credentials from this service), and revoke it if it was shared.",
    )


def check_stored(config: Mapping[str, Any], dataloader: Sequence[Mapping[str, Any]]) -> list[ConfigProblem]:
    """What forbids even keeping a config: its size, secrets inside, an option given twice."""
    size = len(json.dumps([config, dataloader], default=str))
    if size > MAX_CONFIG_BYTES:
        return [
            ConfigProblem(
                "config", f"config and dataloader are {size} bytes; {MAX_CONFIG_BYTES} is the limit", "too_large"
            )
        ]
    return [
        *undash(config)[1],
        *secret_problems(_without_key_ids(config), "config"),
        *secret_problems(dataloader, "dataloader_config"),
    ]


def _without_key_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what tells a stored credential from others in ``publishing_config``: no secrets, though they
    are named like some. One that is JSON text is looked into."""
    return {
        key: _known_publishing(value) if key.lstrip("-").replace("-", "_") == "publishing_config" else value
        for key, value in config.items()
    }


def _known_publishing(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in KEY_ID_OPTIONS or not isinstance(v, str)}
    if isinstance(value, list):
        return [_known_publishing(entry) if isinstance(entry, Mapping) else entry for entry in value]
    return value


def check_submission(config: Mapping[str, Any], dataloader: Sequence[Mapping[str, Any]]) -> list[ConfigProblem]:
    """What is wrong with a submitted config and dataloader, before anything is resolved."""
    problems = check_stored(config, dataloader)
    if len(dataloader) > MAX_DATALOADER_ENTRIES:
        problems.append(
            ConfigProblem("dataloader_config", f"has more than {MAX_DATALOADER_ENTRIES} entries", "too_many_entries")
        )
    seen: set[str] = set()
    for i, entry in enumerate(dataloader):
        where = f"dataloader_config.{i}"
        entry_id = entry.get("id")
        if not isinstance(entry_id, str) or not entry_id:
            problems.append(ConfigProblem(f"{where}.id", "is missing: every dataloader entry needs an id", "missing"))
        elif entry_id in seen:
            problems.append(ConfigProblem(f"{where}.id", f"'{entry_id[:100]}' is used twice", "duplicate"))
        else:
            seen.add(entry_id)
        problems += _entry_problems(entry, where)
    local = [e for e in dataloader if needs_upload(e)]
    if len(local) > MAX_LOCAL_ENTRIES:
        problems.append(
            ConfigProblem("dataloader_config", f"has more than {MAX_LOCAL_ENTRIES} local datasets", "too_many_entries")
        )
    if not any(not _is_cache(e) and is_enabled(e) for e in dataloader):
        problems.append(
            ConfigProblem(
                "dataloader_config",
                "names no dataset",
                "no_dataset",
                "Add an entry with a type and an instance_data_dir, or save one with the config: "
                "stcloud configs push NAME config.json --dataloader multidatabackend.json",
            )
        )
    return problems


def _entry_problems(entry: Mapping[str, Any], where: str) -> Iterator[ConfigProblem]:
    """What is wrong with the values of one entry that this service itself reads."""
    for key in ("type", "dataset_type"):
        if not isinstance(entry.get(key, ""), str):
            yield ConfigProblem(f"{where}.{key}", "must be a text, for example 'local' or 'image'", "invalid")
    for key in ("id", "cache_file_suffix"):
        problem = _entry_name_problem(entry.get(key))
        if problem is not None:
            yield ConfigProblem(f"{where}.{key}", problem, "invalid")


def _entry_name_problem(value: Any) -> str | None:
    """Why this can't be part of an S3 key and of a folder's name on the trainer's disk; an empty value is none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return "must be a text"
    if not _ENTRY_NAME.fullmatch(value) or value in {".", ".."}:
        return "may not hold slashes, backslashes or control characters, nor be '.' or '..'"
    if len(value.encode()) > MAX_ENTRY_NAME_BYTES:
        return f"is longer than {MAX_ENTRY_NAME_BYTES} bytes; choose a shorter one"
    return None


def entry_type(entry: Mapping[str, Any]) -> str:
    """The entry's type; without one, or with an empty one, it is local."""
    return str(entry.get("type") or "local")


def is_local(entry: Mapping[str, Any]) -> bool:
    return entry_type(entry) == "local"


def is_enabled(entry: Mapping[str, Any]) -> bool:
    """Whether the entry takes part. SimpleTuner passes over one whose ``disabled`` or ``disable`` holds anything that
    Python calls true, and so the text "false" too (4.10.1, ``data_backend/factory.py``)."""
    return not (entry.get("disabled") or entry.get("disable"))


def _is_cache(entry: Mapping[str, Any]) -> bool:
    kind = entry.get("dataset_type", "image")
    return isinstance(kind, str) and kind in CACHE_DATASET_TYPES


def needs_upload(entry: Mapping[str, Any]) -> bool:
    """True for an entry whose data lies on the user's disk: it must be a dataset version before launch."""
    return is_local(entry) and not _is_cache(entry) and is_enabled(entry)


def _as_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and number == int(number) and abs(number) <= MAX_STEPS else None


def fitting_interval(max_steps: int, wanted: int) -> int:
    """The divisor of ``max_steps`` closest to ``wanted`` (by ratio) that is not below a third of it.

    So the last step always gets its checkpoint, and a prime number of steps does not mean a checkpoint every step.
    """
    wanted = max(1, min(wanted, max_steps))
    best = max_steps
    for low in range(1, int(max_steps**0.5) + 1):
        if max_steps % low:
            continue
        for divisor in (low, max_steps // low):
            if 3 * divisor >= wanted and _ratio(divisor, wanted) < _ratio(best, wanted):
                best = divisor
    return best


def _ratio(a: int, b: int) -> float:
    return max(a, b) / min(a, b)


def prepare_config(config: Mapping[str, Any]) -> tuple[PreparedConfig | None, list[ConfigProblem]]:
    """The config as it will be launched (without dashes), or the problems that forbid it."""
    clean, problems = undash(config)
    notes = _drop(clean)
    family = clean.get("model_family")
    if not family:
        problems.append(ConfigProblem("config.model_family", "is missing: for example flux, sdxl or sd3", "missing"))
    elif not isinstance(family, str):
        problems.append(ConfigProblem("config.model_family", "must be a text: for example flux", "invalid"))
    epochs = _as_int(clean.get("num_train_epochs", 0) or 0)
    steps = _as_int(clean.get("max_train_steps", 0) or 0)
    if steps is None or steps < 0:
        problems.append(ConfigProblem("config.max_train_steps", _STEPS, "invalid"))
    elif steps == 0 and clean.get("max_train_steps") not in (None, "") and not epochs:
        problems.append(ConfigProblem("config.max_train_steps", f"is 0, and {_STEPS}", "out_of_range"))
    elif steps == 0:
        problems.append(
            ConfigProblem(
                "config.max_train_steps",
                "is missing: the last step must be known beforehand so that a checkpoint falls on it, or the final "
                "weights would never be published",
                "missing",
                "Set the number of steps: images x repeats x epochs / batch size.",
            )
        )
    problems += [
        ConfigProblem(f"config.{key}", _WHOLE_NUMBER, "invalid")
        for key in (*CHECKPOINT_KEYS, *VALIDATION_KEYS)
        if clean.get(key) not in (None, "") and _as_int(clean[key]) is None
    ]
    if problems or not steps:
        return None, problems
    if epochs:
        notes.append(f"num_train_epochs {epochs} was set to 0: the trainer refuses it together with max_train_steps")
    clean["max_train_steps"] = steps
    clean["num_train_epochs"] = 0
    notes += _fit(clean, steps, CHECKPOINT_KEYS, DEFAULT_CHECKPOINT_INTERVAL, "checkpoint")
    notes += _fit(clean, steps, VALIDATION_KEYS, DEFAULT_VALIDATION_INTERVAL, "validation")
    clean.pop("checkpoint_epoch_interval", None)
    clean.pop("validation_epoch_interval", None)
    if str(clean.get("validation_disable", "")).lower() in {"true", "1"}:
        clean.pop("validation_disable")
        notes.append("validation_disable was left out: the trainer publishes weights after a validation")
    prompts = ("validation_prompt", "validation_prompt_library", "user_prompt_library")
    if not any(clean.get(key) for key in prompts):
        clean["validation_prompt"] = "a photo"
        notes.append("validation_prompt was set to 'a photo': the trainer publishes weights after a validation")
    return PreparedConfig(config=clean, max_train_steps=steps, adjustments=tuple(notes)), []


def _drop(clean: dict[str, Any]) -> list[str]:
    """Takes out what means nothing on a rented machine; one note for those that go for the same reason."""
    dropped: dict[str, list[str]] = {}
    for key, reason in _DROPPED.items():
        value = clean.pop(key, None)
        if value not in (None, False, "", [], {}) and key not in _QUIETLY_DROPPED:
            dropped.setdefault(reason, []).append(key)
    return [
        f"{' and '.join(keys)} {'was' if len(keys) == 1 else 'were'} left out: {reason}"
        for reason, keys in dropped.items()
    ]


def _fit(clean: dict[str, Any], steps: int, keys: tuple[str, str], default: int, word: str) -> list[str]:
    given = [value for key in keys if (value := clean.pop(key, None)) not in (None, "")]
    asked = _as_int(given[0]) if given else None
    interval = fitting_interval(steps, asked if asked and asked > 0 else default)
    clean[keys[0]] = interval
    if given and asked != interval:
        often = count_text(interval, "step")
        return [f"a {word} every {often} instead of {given[0]}, so that one falls on the last step ({steps})"]
    return []
