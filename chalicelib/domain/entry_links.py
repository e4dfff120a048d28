"""How the entries of a dataloader refer to each other: conditioning, embeddings, caches.

Read in SimpleTuner 4.10.1, ``data_backend/factory.py`` (``_connect_conditioning_datasets``,
``_assign_text_embed_cache``, ``_get_image_embed_backend``, ``_ensure_text_embed_backends_present``,
``_configure_vae_cache``, ``sort_dataset_configs_by_dependencies``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.entry_checks import CHECK, DATASET_TYPES, MAX_SHOWN, MEDIA_TYPES, Entry
from chalicelib.domain.option_checks import truth
from chalicelib.domain.simpletuner_options import closest

#: Which key of an entry names an entry of which kinds.
_LINKS: Mapping[str, frozenset[str]] = {
    "conditioning_data": frozenset({"conditioning"}),
    "source_dataset_id": frozenset({"image", "video", "audio"}),
    "text_embeds": frozenset({"text_embeds"}),
    "text_embed_cache": frozenset({"text_embeds"}),
    "image_embeds": frozenset({"image_embeds"}),
    "conditioning_image_embeds": frozenset({"conditioning_image_embeds"}),
    "s2v_datasets": frozenset({"audio"}),
}
_PRIMARY = frozenset({"image", "video", "audio"})


def check_links(config: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Finding]:
    """What is wrong between entries that take part; ``config`` is without dashes."""
    kinds = {str(entry.data["id"]): entry.kind for entry in entries if isinstance(entry.data.get("id"), str)}
    for entry in entries:
        if entry.kind in MEDIA_TYPES:
            yield from _links(entry, kinds)
    yield from _defaults(entries)
    yield from _caches(entries)
    yield from _conditioning(config, entries)
    yield from _regularisation(config, entries)
    # A dataset_type that is a slip of the pen may have meant a primary one.
    primary = any(e.kind in _PRIMARY or e.kind not in DATASET_TYPES for e in entries)
    if not config.get("distillation_method") and entries and not primary:
        kind = "caches" if not any(e.kind in MEDIA_TYPES for e in entries) else "conditioning or evaluation"
        yield Finding(
            Level.ERROR,
            "no_training_dataset",
            CHECK,
            "dataloader_config",
            f"All entries are {kind}: there is nothing to learn from.",
            "Add an entry with dataset_type image, video or audio.",
        )


def _links(entry: Entry, kinds: Mapping[str, str]) -> Iterator[Finding]:
    for key, wanted in _LINKS.items():
        value = entry.data.get(key)
        named = [value] if isinstance(value, str) and value else value if isinstance(value, list) else []
        for name in named:
            if not isinstance(name, str) or kinds.get(name) in wanted:
                continue
            fitting = [known for known, kind in kinds.items() if kind in wanted]
            meant = closest(name, fitting)
            what = " or ".join(sorted(wanted))
            there = kinds.get(name)
            yield entry.error(
                "broken_link",
                key,
                f"{key} names '{name[:MAX_SHOWN]}', "
                + (f"whose dataset_type is {there}, not {what}." if there else "which is no entry that takes part."),
                f"Did you mean '{meant[:MAX_SHOWN]}'?"
                if meant
                else f"Add an entry with this id and dataset_type {what}, or leave {key} out.",
            )


def _defaults(entries: Sequence[Entry]) -> Iterator[Finding]:
    defaults = [e for e in entries if e.kind == "text_embeds" and truth(e.data.get("default"))]
    for entry in defaults[1:]:
        yield entry.error(
            "two_defaults",
            "default",
            "another text_embeds entry is the default already.",
            "Only one may have default: true.",
        )
    for entry in entries:
        if entry.kind in {"text_embeds", "image_embeds", "conditioning_image_embeds"} and entry.type not in {
            "local",
            "aws",
            "memory",
        }:
            yield entry.error("invalid", "type", f"{entry.kind} can't be kept in {entry.type}.", "Use type local.")


def _caches(entries: Sequence[Entry]) -> Iterator[Finding]:
    texts = {str(e.data["cache_dir"]) for e in entries if e.kind == "text_embeds" and e.data.get("cache_dir")}
    seen: set[str] = set()
    for entry in entries:
        folder = entry.data.get("cache_dir_vae")
        if entry.kind not in MEDIA_TYPES or not isinstance(folder, str) or not folder or "{id}" in folder:
            continue
        if folder in seen or folder in texts:
            yield entry.error(
                "cache_shared",
                "cache_dir_vae",
                "cache_dir_vae is the cache of another entry too, which mixes them up.",
                "Give each entry its own, for example cache/vae/{id}.",
            )
        seen.add(folder)


def _conditioning(config: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Finding]:
    for entry in entries:
        block = entry.data.get("conditioning")
        parts = block if isinstance(block, list) else [block] if block else []
        for part in parts:
            if not isinstance(part, Mapping) or not part.get("type"):
                yield entry.error(
                    "invalid",
                    "conditioning",
                    "each part of the conditioning block needs a type.",
                    "For example: {type: canny}.",
                )
        if (
            truth(config.get("controlnet"))
            and entry.kind == "image"
            and not block
            and not entry.data.get("conditioning_data")
        ):
            yield entry.error(
                "conditioning_missing",
                "conditioning_data",
                "ControlNet learns from conditioning pictures, and this entry names none.",
                "Name the entry that holds them as conditioning_data, or add a conditioning block.",
            )


def _regularisation(config: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[Finding]:
    regular = [
        e for e in entries if truth(e.data.get("is_regularisation_data")) or truth(e.data.get("is_regularization_data"))
    ]
    if not regular:
        return
    if str(config.get("model_type") or "full") == "full":
        yield regular[0].finding(
            Level.NOTE,
            "regularisation_unused",
            "is_regularisation_data",
            "only a LoRA is held to the base model's own answers; here these pictures are learned like all others.",
            "Use model_type lora, or leave the entry out.",
        )
    if len(regular) == len([e for e in entries if e.kind in _PRIMARY]):
        yield regular[0].finding(
            Level.WARNING,
            "only_regularisation",
            "is_regularisation_data",
            "every dataset is marked as regularisation: nothing new would be learned.",
            "Leave is_regularisation_data out of the pictures that are to be learned.",
        )
