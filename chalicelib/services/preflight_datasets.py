"""One dataset of a draft: what its files' names and its inspection say to the settings of its entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from chalicelib.domain.aspect import CropAspect, ResolutionType, Sizing
from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.entry_checks import MAX_MINIMUM_AREA, Entry
from chalicelib.domain.inspection_facts import ReportFacts
from chalicelib.domain.inspection_fit import caption_fit, fit
from chalicelib.domain.launch_payload import table_in_dataset
from chalicelib.domain.media import Kind
from chalicelib.domain.number_ranges import ASPECT, OF_ENTRIES
from chalicelib.domain.option_checks import number, truth
from chalicelib.domain.run_length import counts_make_sense, gpus_of, repeats_of
from chalicelib.domain.simpletuner_options import options
from chalicelib.services.dataset_facts import FileNames, Report
from chalicelib.services.draft import Draft

DATASETS = "datasets"
#: The kinds of datasets that a model learns from, and what they are made of.
LEARNED = {"image": Kind.IMAGE, "video": Kind.VIDEO, "audio": Kind.AUDIO}
_MEDIA = (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO)
_SEEN = (Kind.IMAGE, Kind.VIDEO)
#: What an entry of each kind is made of, and what that is called.
_MADE_OF = {
    "image": ((Kind.IMAGE,), "pictures"),
    "video": ((Kind.VIDEO,), "films"),
    "audio": ((Kind.AUDIO,), "sounds"),
    "conditioning": (_MEDIA, "pictures, films or sounds"),
    "eval": (_SEEN, "pictures or films"),
}
#: Notes about a report's files are in the report.
_SHOWN = frozenset({Level.ERROR, Level.WARNING})
_DELETES = ("delete_unwanted_images", "delete_problematic_images")
#: Codes of findings that are told from the names of files already, entry by entry.
_TOLD_BY_NAMES = frozenset({"caption_missing", "captions_none"})
_MISCASED = "caption_suffix"
#: What a toy model does not mind.
TOY = frozenset(
    {
        *("images_too_small", "images_below_minimum", "buckets_too_small", "captions_too_long", "image_tiny"),
        *("fewer_than_batch", "too_many_passes", "not_seen_once"),
    }
)


def check_dataset(
    draft: Draft, entry: Entry, names: FileNames | None, report: Report | None, version: DatasetVersion
) -> Iterator[Finding]:
    """What is known of the version that ``entry`` stands for, held against its settings."""
    counts = _counts(names, report)
    if counts is not None and entry.kind in _MADE_OF:
        nothing = _nothing(entry, counts)
        if nothing is not None:
            yield nothing
            return
    if names is not None:
        yield from _files(entry, names)
    elif report is not None and report.facts is not None:
        yield from _files_counted(entry, report.facts)
    for option in _DELETES:
        if truth(entry.setting(option)):
            yield entry.finding(
                Level.WARNING,
                "deletes_files",
                option,
                f"{option} would delete files of the dataset, whose versions never change: the trainer is refused.",
                f"Leave {option} out.",
            )
    if report is None:
        return
    yield from _reported(entry, names, report, version)
    if report.facts is None or entry.kind not in {"image", "conditioning"}:
        return
    family = draft.plain.get("model_family")
    for cut_off in caption_fit(report.facts, family if isinstance(family, str) else ""):
        yield _about(entry, cut_off)
    yield from _fits(draft, entry, report.facts)


def _reported(entry: Entry, names: FileNames | None, report: Report, version: DatasetVersion) -> Iterator[Finding]:
    told = _TOLD_BY_NAMES
    if names is not None and entry.caption_strategy == "textfile" and entry.kind in LEARNED:
        told = told | {_MISCASED}
    for one in report.findings:
        if one.level in _SHOWN and one.code not in told:
            yield _about(entry, one, f"See all: stcloud datasets check {version.dataset_id}")


class _Found(Protocol):
    """What an inspection, or the fit of its facts to settings, found."""

    @property
    def level(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def advice(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def paths(self) -> tuple[str, ...]: ...


def _about(entry: Entry, one: _Found, more: str = "") -> Finding:
    where = entry.finding(Level(one.level), one.code, "", one.message, f"{one.advice} {more}".strip())
    return Finding(
        where.level, one.code, DATASETS, where.field, where.message, where.advice, paths=one.paths, count=one.count
    )


def _in_datasets(finding: Finding) -> Finding:
    return Finding(
        finding.level,
        finding.code,
        DATASETS,
        finding.field,
        finding.message,
        finding.advice,
        finding.paths,
        finding.count,
    )


def _files(entry: Entry, names: FileNames) -> Iterator[Finding]:
    """What the names of its files tell of an entry."""
    media = sum(names.counts[kind] for kind in _MEDIA)
    if entry.caption_strategy == "textfile" and entry.kind in LEARNED:
        yield from _miscased(entry, names)
        yield from _captions(entry, names.missing, names.missing_count, media)
    if entry.data.get("metadata_backend") == "parquet" or entry.caption_strategy == "parquet":
        yield from _table(entry, names)


def _files_counted(entry: Entry, facts: ReportFacts) -> Iterator[Finding]:
    """The same from an inspection's counts: a long list of names is not read."""
    if entry.caption_strategy == "textfile" and entry.kind in LEARNED:
        yield from _captions(entry, (), facts.captions.missing, facts.counts.images + facts.counts.video)


def _counts(names: FileNames | None, report: Report | None) -> dict[Kind, int] | None:
    """Media by kind. The trainer goes by the names, so they count; a long list of names is not read."""
    if names is not None:
        return names.counts
    if report is None or report.facts is None:
        return None
    counts = report.facts.counts
    return {Kind.IMAGE: counts.images, Kind.VIDEO: counts.video, Kind.AUDIO: counts.audio}


def _nothing(entry: Entry, counts: dict[Kind, int]) -> Finding | None:
    kinds, called = _MADE_OF[entry.kind]
    if any(counts[kind] for kind in kinds):
        return None
    there = next((kind for kind in LEARNED if counts[LEARNED[kind]]), None)
    return _in_datasets(
        entry.error(
            "no_media",
            "" if there is None else "dataset_type",
            f"the dataset holds no {called}, by the names of its files, and there is nothing to train on.",
            "Push the folder that holds them: stcloud datasets push FOLDER."
            if there is None
            else f"It holds {_MADE_OF[there][1]}: set dataset_type to {there}, or name another dataset.",
        )
    )


def _captions(entry: Entry, missing: tuple[str, ...], count: int, media: int) -> Iterator[Finding]:
    if count == 0:
        return
    all_missing = count >= media
    said = "there is no .txt at all" if all_missing else f"{count:,} of {media:,} have no .txt"
    found = entry.finding(
        Level.ERROR if all_missing else Level.WARNING,
        "captions_missing",
        "caption_strategy",
        f"caption_strategy is textfile, and {said}. The trainer ends at the first file without one.",
        "Write the captions, leave those files out, or use caption_strategy filename or instanceprompt.",
    )
    yield Finding(found.level, found.code, DATASETS, found.field, found.message, found.advice, missing, count)


def _miscased(entry: Entry, names: FileNames) -> Iterator[Finding]:
    if not names.miscased_count:
        return
    needed = names.miscased_needed
    ends = "1 caption does" if names.miscased_count == 1 else f"{names.miscased_count:,} captions do"
    found = entry.finding(
        Level.ERROR if needed else Level.WARNING,
        _MISCASED,
        "caption_strategy",
        f"{ends} not end in .txt in small letters, and the trainer reads no other."
        + (f" That leaves {needed:,} of its files without a caption." if needed else ""),
        "Rename them to .txt and push again, or leave them out.",
    )
    yield Finding(
        found.level,
        found.code,
        DATASETS,
        found.field,
        found.message,
        found.advice,
        names.miscased,
        names.miscased_count,
    )


def _table(entry: Entry, names: FileNames) -> Iterator[Finding]:
    block = entry.data.get("parquet")
    path = block.get("path") if isinstance(block, dict) else None
    if not isinstance(path, str) or not path:
        return
    inside = table_in_dataset(entry.data)
    if inside is not None and inside in names.paths:
        return
    yield _in_datasets(
        entry.error(
            "table_missing",
            "parquet.path",
            f"'{path[:200]}' is no file of the dataset.",
            "Put it among the pictures and push again; name it as it lies below instance_data_dir.",
        )
    )


def left_out(entry: Entry, facts: ReportFacts) -> int:
    """Images that the trainer passes over as smaller than the entry's ``minimum_image_size``."""
    minimum = _minimum(entry)
    crop_aspect = str(entry.data.get("crop_aspect") or CropAspect.SQUARE)
    if minimum is None or _unit(entry) not in set(ResolutionType) or crop_aspect not in set(CropAspect):
        return 0
    sizing = Sizing(
        resolution=1,
        kind=ResolutionType(_unit(entry)),
        crop=truth(entry.data.get("crop")),
        crop_aspect=CropAspect(crop_aspect),
        minimum=minimum,
    )
    return sum(size.images for size in facts.sizes if sizing.is_left_out(size.width, size.height))


def _unit(entry: Entry) -> str:
    return str(entry.setting("resolution_type") or options().default("resolution_type"))


def _minimum(entry: Entry) -> float | None:
    """``minimum_image_size`` where it makes sense; the check of the dataloader tells of others."""
    minimum = number(entry.setting("minimum_image_size"))
    if minimum is None or minimum <= 0 or (_unit(entry) == ResolutionType.AREA and minimum > MAX_MINIMUM_AREA):
        return None
    return minimum


def _fits(draft: Draft, entry: Entry, facts: ReportFacts) -> Iterator[Finding]:
    """What the inspected sizes make of the entry's settings."""
    config = draft.prepared.config if draft.prepared else draft.plain
    known = options()
    if not counts_make_sense(config) or not counts_make_sense({"train_batch_size": entry.data.get("train_batch_size")}):
        return
    batch = number(entry.data.get("train_batch_size")) or number(config.get("train_batch_size"))
    accumulation = number(config.get("gradient_accumulation_steps")) or 1
    resolution = number(entry.setting("resolution")) or number(known.default("resolution")) or 1024
    buckets = entry.data.get("crop_aspect_buckets")
    aspects = [number(b) for b in buckets] if isinstance(buckets, list) else []
    crop_aspect = str(entry.data.get("crop_aspect") or CropAspect.SQUARE)
    if (
        not OF_ENTRIES["resolution"].holds(resolution)
        or _unit(entry) not in set(ResolutionType)
        or crop_aspect not in set(CropAspect)
    ):
        return  # the check of the dataloader tells of it
    try:
        found = fit(
            facts,
            resolution=resolution,
            resolution_type=_unit(entry),
            batch_size=int(batch or number(known.default("train_batch_size")) or 1),
            repeats=repeats_of(entry),
            crop=truth(entry.data.get("crop")),
            crop_aspect=crop_aspect,
            crop_aspect_buckets=tuple(a for a in aspects if a and ASPECT.holds(a)),
            minimum_image_size=_minimum(entry),
            gradient_accumulation_steps=int(accumulation),
            gpus=gpus_of(draft.profile.id) if draft.profile else 1,
            bucket_pruning=not truth(config.get("disable_bucket_pruning")),
        )
    except ValueError as reason:
        yield _in_datasets(
            entry.finding(
                Level.WARNING,
                "fit_not_checked",
                "",
                f"how its pictures fit the settings can't be reckoned: {reason}.",
                "Look at its resolution, crop_aspect_buckets, repeats and batch size.",
            )
        )
        return
    for one in found:
        yield _about(entry, one)
