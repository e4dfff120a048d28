"""The entries of a dataloader: does each have the shape that SimpleTuner's data backends insist on.

Read in the source of SimpleTuner 4.10.1: ``data_backend/factory.py`` (``init_backend_config``, ``configure_*``),
``data_backend/builders/*.py``, ``data_backend/config/*.py``, ``metadata/backends/parquet.py``. What it refuses is an
error here; it refuses it after the GPU has been started. How entries refer to each other is in ``entry_links.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.number_ranges import ASPECT, OF_ENTRIES, is_placeholder
from chalicelib.domain.option_checks import number, truth
from chalicelib.domain.simpletuner_options import closest
from chalicelib.domain.trainer import entry_type, is_enabled

CHECK = "dataloader"
TYPES = ("local", "aws", "csv", "huggingface", "webshart", "memory")
DATASET_TYPES = (
    *("image", "video", "audio", "conditioning", "eval", "text_embeds", "image_embeds"),
    *("conditioning_image_embeds", "distillation_cache", "caption", "grounding"),
)
#: What holds pictures, films or sounds, as against caches and texts.
MEDIA_TYPES = frozenset({"image", "video", "audio", "conditioning", "eval"})
CAPTION_STRATEGIES = (
    *("textfile", "filename", "instanceprompt", "instance_prompt", "parquet", "csv", "huggingface", "webshart"),
)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "crop_aspect": ("square", "preserve", "random", "closest"),
    "crop_style": ("random", "corner", "center", "centre", "face"),
    "resolution_type": ("pixel", "area", "pixel_area"),
    "metadata_backend": ("discovery", "json", "filesystem", "parquet", "huggingface", "webshart"),
}
_AWS_PLACES = ("aws_bucket_name", "aws_region_name", "aws_endpoint_url")
_AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key")
#: Megapixels from which a number is taken for pixels by mistake, and the least number of pixels.
_MAX_AREA, _MIN_PIXELS = 20, 512
#: SimpleTuner ends at the first picture when ``minimum_image_size`` is more megapixels than this.
MAX_MINIMUM_AREA = 5
MAX_SHOWN = 60


@dataclass(frozen=True)
class Entry:
    """One entry and where it stands."""

    index: int
    data: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def type(self) -> str:
        return entry_type(self.data)

    @property
    def kind(self) -> str:
        return str(self.data.get("dataset_type") or "image").strip().lower()

    @property
    def enabled(self) -> bool:
        return is_enabled(self.data)

    @property
    def caption_strategy(self) -> str | None:
        given = self.data.get("caption_strategy", self.config.get("caption_strategy"))
        return given if isinstance(given, str) and given else None

    def setting(self, name: str) -> Any:
        """The entry's own value, or else the config's."""
        return self.data.get(name, self.config.get(name))

    def finding(self, level: Level, code: str, key: str, message: str, advice: str) -> Finding:
        where = f"dataloader_config.{self.index}" + (f".{key}" if key else "")
        name = str(self.data.get("id") or self.index)[:MAX_SHOWN]
        return Finding(level, code, CHECK, where, f"Dataset '{name}': {message}", advice)

    def error(self, code: str, key: str, message: str, advice: str) -> Finding:
        return self.finding(Level.ERROR, code, key, message, advice)


def entries_of(config: Mapping[str, Any], dataloader: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """The entries that take part; ``config`` is without dashes."""
    return [e for e in (Entry(i, data, config) for i, data in enumerate(dataloader)) if e.enabled]


def check_entries(entries: Sequence[Entry]) -> Iterator[Finding]:
    """What is wrong with the entries by themselves."""
    for entry in entries:
        unknown = list(_unknown(entry))
        yield from unknown
        if unknown:
            continue
        yield from _BY_TYPE.get(entry.type, _nothing)(entry)
        if entry.kind in MEDIA_TYPES:
            yield from _captions(entry)
            yield from _pictures(entry)
            yield from _numbers(entry)
            if entry.kind == "video":
                yield from _video(entry)


def _nothing(_: Entry) -> Iterator[Finding]:
    yield from ()


def _unknown(entry: Entry) -> Iterator[Finding]:
    for key, value, known in (("type", entry.type, TYPES), ("dataset_type", entry.kind, DATASET_TYPES)):
        if value in known:
            continue
        meant = closest(value, known)
        advice = f"Did you mean {meant}?" if meant else f"Use one of: {', '.join(known)}."
        if key == "type" and value == "parquet":
            advice = (
                "parquet says where sizes and captions stand: keep the type of the pictures (local, for example), with "
                "metadata_backend parquet and a parquet block."
            )
        yield entry.error(f"unknown_{key}", key, f"SimpleTuner knows no {key} '{value[:MAX_SHOWN]}'.", advice)
    if "disable_vae_cache" in entry.data:
        yield entry.error(
            "option_removed", "disable_vae_cache", "disable_vae_cache was removed.", "Use vae_cache_disable instead."
        )


def _missing(entry: Entry, names: Sequence[str]) -> list[str]:
    return [name for name in names if entry.data.get(name) in (None, "")]


def _huggingface(entry: Entry) -> Iterator[Finding]:
    block = entry.data.get("huggingface")
    name = entry.data.get("dataset_name") or (block.get("dataset_name") if isinstance(block, Mapping) else None)
    if not isinstance(name, str) or not name:
        yield entry.error(
            "missing", "dataset_name", "dataset_name is missing.", "Name the dataset on the Hub: owner/name."
        )
    if entry.data.get("metadata_backend") not in (None, "", "huggingface"):
        yield entry.error(
            "invalid", "metadata_backend", "metadata_backend must be huggingface here.", "Leave metadata_backend out."
        )
    if entry.data.get("caption_strategy") not in (None, "huggingface", "instanceprompt"):
        yield entry.error(
            "invalid",
            "caption_strategy",
            "caption_strategy must be huggingface or instanceprompt here.",
            "Leave caption_strategy out to take the dataset's own captions.",
        )


def _csv(entry: Entry) -> Iterator[Finding]:
    for name in _missing(entry, ("csv_file", "csv_cache_dir", "csv_caption_column")):
        yield entry.error("missing", name, f"{name} is missing.", "A csv dataset needs it: see DATALOADER.md.")
    if entry.caption_strategy != "csv" and "caption_strategy" in entry.data:
        yield entry.error(
            "invalid", "caption_strategy", "caption_strategy must be csv here.", "Set caption_strategy to csv."
        )
    if entry.kind == "caption":
        yield entry.error("invalid", "dataset_type", "captions can't come from csv.", "Use type local or huggingface.")
    if entry.data.get("csv_file"):
        yield entry.finding(
            Level.WARNING,
            "not_on_trainer",
            "csv_file",
            "csv_file is read from the rented machine's own disk, and nothing puts it there.",
            "Download the pictures and push them as a dataset: stcloud datasets push FOLDER.",
        )


def _aws(entry: Entry) -> Iterator[Finding]:
    for name in _missing(entry, _AWS_PLACES):
        yield entry.finding(
            Level.WARNING,
            "bucket_incomplete",
            name,
            f"{name} is missing.",
            "SimpleTuner insists on it; aws_region_name may be auto.",
        )
    missing = _missing(entry, _AWS_KEYS)
    if missing:
        yield entry.finding(
            Level.WARNING,
            "bucket_without_keys",
            missing[0],
            "SimpleTuner reads a bucket with keys only, and this service takes no keys in a config: they would be "
            "stored with the job and shown to the GPU provider.",
            "Copy the files into a dataset (stcloud datasets push FOLDER). With a trainer image of your own that holds "
            "the keys, name its variables: {env:AWS_ACCESS_KEY_ID}, {env:AWS_SECRET_ACCESS_KEY}.",
        )
    prefix = entry.data.get("aws_data_prefix")
    if not isinstance(prefix, str | type(None)) and not _texts(prefix):
        yield entry.error(
            "invalid", "aws_data_prefix", "aws_data_prefix must be a text or a list of texts.", "For example: photos/."
        )


def _webshart(entry: Entry) -> Iterator[Finding]:
    block = entry.data.get("webshart")
    source = entry.data.get("source") or (block.get("source") if isinstance(block, Mapping) else None)
    if not source:
        yield entry.error("missing", "source", "source is missing.", "Name the dataset's place on the Hub.")
    if entry.data.get("caption_strategy") not in (None, "webshart", "instanceprompt"):
        yield entry.error(
            "invalid", "caption_strategy", "must be webshart or instanceprompt here.", "Leave caption_strategy out."
        )


def _memory(entry: Entry) -> Iterator[Finding]:
    if entry.kind in MEDIA_TYPES:
        yield entry.error("invalid", "type", "memory holds caches, not data.", "Use type local for your own files.")


_BY_TYPE = {"huggingface": _huggingface, "csv": _csv, "aws": _aws, "webshart": _webshart, "memory": _memory}


def _captions(entry: Entry) -> Iterator[Finding]:
    strategy = entry.caption_strategy
    prompt = entry.setting("instance_prompt")
    if strategy is not None and strategy not in CAPTION_STRATEGIES:
        meant = closest(strategy, CAPTION_STRATEGIES)
        yield entry.error(
            "unknown_caption_strategy",
            "caption_strategy",
            f"there is no caption_strategy '{strategy[:MAX_SHOWN]}'.",
            f"Did you mean {meant}?" if meant else "Use textfile, filename, instanceprompt or parquet.",
        )
    elif strategy in {"instanceprompt", "instance_prompt"} and not prompt:
        yield entry.error(
            "instance_prompt_missing",
            "instance_prompt",
            "caption_strategy instanceprompt needs an instance_prompt.",
            "Write the one caption for every picture as instance_prompt, or use caption_strategy textfile.",
        )
    elif strategy in {"huggingface", "webshart"} and entry.type != strategy:
        yield entry.error(
            "invalid",
            "caption_strategy",
            f"caption_strategy {strategy} goes with type {strategy} only.",
            "Use textfile, filename or instanceprompt.",
        )
    if truth(entry.setting("prepend_instance_prompt")) and not prompt:
        yield entry.error(
            "instance_prompt_missing",
            "instance_prompt",
            "prepend_instance_prompt needs an instance_prompt.",
            "Add an instance_prompt, or leave prepend_instance_prompt out.",
        )
    if strategy == "parquet" or entry.data.get("metadata_backend") == "parquet":
        yield from _parquet(entry)


def _parquet(entry: Entry) -> Iterator[Finding]:
    if entry.data.get("metadata_backend") != "parquet":
        yield entry.error(
            "parquet_backend_missing",
            "metadata_backend",
            "caption_strategy parquet needs metadata_backend parquet.",
            "Set metadata_backend to parquet, or write the captions into .txt files and use textfile.",
        )
    block = entry.data.get("parquet")
    path = block.get("path") if isinstance(block, Mapping) else None
    if not isinstance(path, str) or not path:
        yield entry.error(
            "missing",
            "parquet.path",
            "the parquet block must name its file.",
            "Add parquet: {path, filename_column, caption_column}; its file lies among the pictures.",
        )


def _pictures(entry: Entry) -> Iterator[Finding]:
    for key, known in _CHOICES.items():
        value = entry.data.get(key)
        if value in (None, "") or (isinstance(value, str) and value in known):
            continue
        meant = closest(str(value), known)
        yield entry.error(
            "invalid",
            key,
            f"there is no {key} '{str(value)[:MAX_SHOWN]}'.",
            f"Did you mean {meant}?" if meant else f"Use one of: {', '.join(known)}.",
        )
    buckets = entry.data.get("crop_aspect_buckets")
    if entry.data.get("crop_aspect") in ("random", "closest") and not (isinstance(buckets, list) and buckets):
        yield entry.error(
            "missing",
            "crop_aspect_buckets",
            f"crop_aspect {entry.data['crop_aspect']} needs crop_aspect_buckets.",
            "List the aspect ratios, for example [1.0, 0.75, 1.33], or use crop_aspect square.",
        )
    wrong = [b for b in buckets if not _is_aspect(b)] if isinstance(buckets, list) else []
    if wrong or not isinstance(buckets, list | None):
        shown = wrong[0] if wrong else buckets
        yield entry.error(
            "out_of_range",
            "crop_aspect_buckets",
            f"crop_aspect_buckets holds {str(shown)[:MAX_SHOWN]}; each must be {ASPECT}.",
            "List aspect ratios, width through height: [1.0, 0.75, 1.33].",
        )
    yield from _sizes(entry)


def _is_aspect(value: Any) -> bool:
    amount = number(value)
    return not isinstance(value, str) and amount is not None and ASPECT.holds(amount)


def _sizes(entry: Entry) -> Iterator[Finding]:
    unit = entry.setting("resolution_type") or "pixel_area"
    sizes = {name: number(entry.setting(name)) for name in ("maximum_image_size", "target_downsample_size")}
    if sizes["maximum_image_size"] and not sizes["target_downsample_size"]:
        yield entry.error(
            "missing",
            "target_downsample_size",
            "maximum_image_size needs a target_downsample_size.",
            "Set target_downsample_size to the size that larger pictures are shrunk to.",
        )
    for name, size in sizes.items():
        wrong = (
            bool(size)
            and size is not None
            and ((unit == "area" and size >= _MAX_AREA) or (unit == "pixel" and size < _MIN_PIXELS))
        )
        if wrong:
            yield entry.error(
                "wrong_unit",
                name,
                f"{name} {size:g} is in another unit than resolution_type {unit} "
                f"({'megapixels' if unit == 'area' else 'pixels'}).",
                "Use resolution_type pixel_area, with all sizes as the edge in pixels: 1024, for example.",
            )
    minimum = number(entry.setting("minimum_image_size"))
    if unit == "area" and minimum is not None and minimum > MAX_MINIMUM_AREA:
        yield entry.error(
            "wrong_unit",
            "minimum_image_size",
            f"minimum_image_size {minimum:g} would be megapixels, as resolution_type is area, and SimpleTuner takes "
            f"{MAX_MINIMUM_AREA} at most.",
            f"For {minimum:g} × {minimum:g} pixels set it to {minimum**2 / 1e6:.2g}, or use resolution_type pixel_area."
            if minimum**2 / 1e6 <= MAX_MINIMUM_AREA
            else "Set it to 0.25, for example, which is 512 × 512 pixels.",
        )
    resolution = entry.data.get("resolution")
    if unit == "pixel_area" and (number(resolution) or 0) > 0 and not str(resolution).isdigit():
        yield entry.error(
            "invalid",
            "resolution",
            "resolution_type pixel_area needs a whole number of pixels.",
            "Set resolution to 1024, for example.",
        )


def _numbers(entry: Entry) -> Iterator[Finding]:
    for key, allowed in OF_ENTRIES.items():
        value = entry.data.get(key)
        if value in (None, "") or is_placeholder(value):
            continue
        amount = number(value)
        if amount is None or not allowed.holds(amount):
            yield entry.error(
                "invalid" if amount is None else "out_of_range",
                key,
                f"{key} is {str(value)[:MAX_SHOWN]}, and must be {allowed}.",
                _ADVICE.get(key, "Mend it, or leave it out."),
            )


#: What else to say about numbers.
_ADVICE = {
    "repeats": "0 means one pass an epoch, 1 two.",
    "resolution": "1024 is usual, with resolution_type pixel_area.",
    "probability": "1 is the default.",
}


def _video(entry: Entry) -> Iterator[Finding]:
    block = entry.data.get("video")
    frames = block if isinstance(block, Mapping) else {}
    least, wanted = frames.get("min_frames"), frames.get("num_frames")
    both = [value for value in (least, wanted) if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 1 for value in both):
        yield entry.error("invalid", "video", "min_frames and num_frames are whole numbers from 1.", "Mend them.")
    elif least is not None and wanted is not None and least < wanted:
        yield entry.error(
            "invalid",
            "video.min_frames",
            f"min_frames {least} is below num_frames {wanted}.",
            "Films shorter than num_frames can't be used: raise min_frames to it.",
        )


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
