"""Reading the user's training config and dataloader from disk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stcloud.errors import UsageError

DATALOADER_NAME = "multidatabackend.json"
MAX_BYTES = 5_000_000
_DURATION = re.compile(r"^(\d{1,7})([smhd]?)$")
#: What the API takes, in seconds.
MIN_RUN, MAX_RUN = 300, 34 * 3600
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_config(path: Path) -> dict[str, Any]:
    """A ``config.json``. Raises UsageError."""
    data = _read_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"'{path}' must hold a JSON object with SimpleTuner's options.")
    return data


def read_dataloader(path: Path) -> list[dict[str, Any]]:
    """A ``multidatabackend.json``. Raises UsageError."""
    data = _read_json(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise UsageError(f"'{path}' must hold a JSON list of dataloader entries.")
    return data


def find_dataloader(config_path: Path, config: Mapping[str, Any]) -> Path | None:
    """The dataloader that belongs to a config: the one it names, or ``multidatabackend.json`` beside it."""
    named = next((v for k, v in config.items() if k.lstrip("-") == "data_backend_config"), None)
    candidates = [config_path.parent / DATALOADER_NAME]
    if isinstance(named, str) and named:
        candidates = [Path(named), config_path.parent / named, config_path.parent / Path(named).name, *candidates]
    return next((c for c in candidates if c.is_file()), None)


def absolute_folders(dataloader: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries with relative folders of this computer made absolute, as ``datasets push`` records them.

    Also returns what was changed, in words. Folders that are not here stay as they are.
    """
    entries, notes = [], []
    for entry in dataloader:
        folder = entry.get("instance_data_dir")
        local = entry.get("type", "local") == "local" and isinstance(folder, str) and folder
        if local and not os.path.isabs(str(folder)) and Path(str(folder)).is_dir():
            path = os.path.abspath(str(folder))
            notes.append(f"{entry.get('id')}: instance_data_dir '{folder}' is sent as '{path}'")
            entries.append({**entry, "instance_data_dir": path})
        else:
            entries.append(dict(entry))
    return entries, notes


def parse_duration(text: str) -> int:
    """Seconds of ``90m``, ``6h``, ``1d``, ``5400`` or ``5400s``. Raises UsageError."""
    match = _DURATION.match(text.strip().lower())
    if match is None:
        raise UsageError(f"'{text}' is no duration.", advice="Write 90m, 6h, 1d or seconds.")
    return int(match.group(1)) * _UNITS[match.group(2)]


def max_run_seconds(text: str) -> int:
    """The value of ``--max-run`` in seconds. Raises UsageError when it is no duration or the API would refuse it."""
    seconds = parse_duration(text)
    if not MIN_RUN <= seconds <= MAX_RUN:
        raise UsageError(f"--max-run {text}: a run may take at least 5m and at most 34h.")
    return seconds


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"'{path}' is too large for a config.")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"There is no file '{path}'.") from None
    except OSError as error:
        raise UsageError(f"'{path}' can't be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise UsageError(
            f"'{path}' is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise UsageError(f"'{path}' is not valid JSON in UTF-8.") from None
