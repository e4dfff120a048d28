"""The Hugging Face Hub, as far as checks ask it: is there such a model or dataset, and who may read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

#: owner/name, or a name of the Hub's early days without an owner.
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


class RepoKind(StrEnum):
    MODEL = "models"
    DATASET = "datasets"


@dataclass(frozen=True)
class HubRepo:
    """What everybody can see of a repository. ``gated``: its files need an account that was let in. ``license`` is the
    Hub's short name of it."""

    name: str
    gated: bool = False
    license: str | None = None


class HubUnreachableError(Exception):
    """The Hub gave no answer that can be used; the text says why and is safe to show."""


class ModelHub(Protocol):
    def look(self, kind: RepoKind, name: str) -> HubRepo | None:
        """The repository, without any credential; None when there is none that is public. One bounded request.

        Raises HubUnreachableError, ValueError for what is no repository's name (``is_repo_name``)."""


def is_repo_name(text: object) -> bool:
    """Whether ``text`` may name a repository: not a path on a disk, not a URL."""
    return isinstance(text, str) and bool(_REPO.fullmatch(text)) and ".." not in text and "--" not in text
