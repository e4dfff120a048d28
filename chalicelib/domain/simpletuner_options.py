"""The options of SimpleTuner 4.10.1: names, types, choices, limits; the settings of datasets; model families. Read from
the data file beside it.

The file is made by ``scripts/simpletuner_options.py`` from the release's wheel and holds facts only. A trainer may be
newer than the file, so what is not in it is never an error by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

#: What a name that looks like no option at all is compared with costs time; real names are shorter.
MAX_NAME = 80


@dataclass(frozen=True)
class Option:
    """``type`` is ``text``, ``int``, ``float``, ``bool`` or ``json``. ``low`` and ``high`` are the limits of
    SimpleTuner's own forms; its command line does not insist on them."""

    name: str
    type: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    default: Any = None


@dataclass(frozen=True)
class Family:
    """``models`` are the flavours' names on the Hugging Face Hub."""

    flavours: tuple[str, ...]
    prediction: str
    models: Mapping[str, str]
    default_flavour: str | None


@dataclass(frozen=True)
class Options:
    """``entry_keys`` are the settings of a dataloader's entries: of any type (``any``), and of one type alone."""

    version: str
    options: Mapping[str, Option]
    ignored: frozenset[str]
    entry_keys: Mapping[str, frozenset[str]]
    families: Mapping[str, Family]
    optimizers: Mapping[str, str]

    def default(self, name: str) -> Any:
        option = self.options.get(name)
        return option.default if option else None

    def base_model(self, family: object, flavour: object) -> str | None:
        """The Hub's name of a family's flavour, its default one when none is given; None when that is not known."""
        known = self.families.get(family.lower()) if isinstance(family, str) else None
        if known is None:
            return None
        chosen = flavour if isinstance(flavour, str) and flavour else known.default_flavour
        return known.models.get(chosen) if chosen else None

    def families_of(self, model: str) -> tuple[str, ...]:
        """The families that have this model of the Hub as one of their flavours."""
        name = model.strip().lower()
        return tuple(f for f, about in self.families.items() if name in {m.lower() for m in about.models.values()})


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` is most likely meant to be, or None."""
    found = get_close_matches(word[:MAX_NAME].lower(), known, n=1, cutoff=0.75)
    return found[0] if found else None


@lru_cache(maxsize=1)
def options() -> Options:
    """Read once a process."""
    data = json.loads(files("chalicelib.domain").joinpath("simpletuner_options.json").read_text(encoding="utf-8"))
    return Options(
        version=data["version"],
        options={name: _option(name, about) for name, about in data["options"].items()},
        ignored=frozenset(data["ignored"]),
        entry_keys={kind: frozenset(names) for kind, names in data["entries"].items()},
        families={
            name: Family(
                flavours=tuple(about["flavours"]),
                prediction=about["prediction"],
                models=about.get("models", {}),
                default_flavour=about.get("default_flavour"),
            )
            for name, about in data["families"].items()
        },
        optimizers=data["optimizers"],
    )


def _option(name: str, about: Mapping[str, Any]) -> Option:
    return Option(
        name=name,
        type=about["type"],
        choices=tuple(about.get("choices", ())),
        low=about.get("min"),
        high=about.get("max"),
        default=about.get("default"),
    )
