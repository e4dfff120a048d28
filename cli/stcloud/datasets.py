"""Names of datasets, and where they come from."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from stcloud.errors import UsageError

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


def dataset_id_of(folder: Path) -> str:
    """A dataset id made from the folder's name. Raises UsageError when nothing usable is left of it."""
    name = unicodedata.normalize("NFKD", Path(os.path.abspath(folder)).name).encode("ascii", "ignore").decode()
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", name)).strip("-._")[:100]
    if not NAME.match(name):
        raise UsageError(
            f"No dataset id can be made from the folder name '{folder.name}'.", advice="Give one with --id NAME."
        )
    return name


def check_name(name: str, what: str) -> str:
    """``name`` if it may name a dataset or config. Raises UsageError."""
    if not NAME.match(name) or ".." in name:
        raise UsageError(
            f"'{name}' can't be the name of a {what}.",
            advice="Use 1 to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit, without '..'.",
        )
    return name


def source_path_of(folder: Path) -> str:
    """The path the dataset is found by in a dataloader: absolute, links not followed."""
    return os.path.abspath(folder)
