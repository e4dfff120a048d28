"""The model card of a delivered model: README.md with YAML front matter, as the Hugging Face Hub reads it. Pure.

The same shipment gives the same text, byte for byte, so that a delivery done twice changes nothing. Whatever people
named (runs, datasets, prompts) is data here: it can't end the front matter, open a link or start a tag.

``facts`` are those of ``shipping_facts``, and ``license``; what is missing or of an unexpected kind is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from chalicelib.domain.delivery_ports import Shipment, ShippedFile
from chalicelib.domain.escrow import FileKind
from chalicelib.domain.hub import is_repo_name
from chalicelib.domain.licenses import front_matter_license

MAX_SAMPLES = 12
MAX_DATASETS = 20
MAX_TEXT = 500
PRODUCT = "SimpleTuner Cloud"

_MARKER = re.compile(r"<!-- simpletuner-cloud:card sha256=([0-9a-f]{64}) -->\n?\Z")
_SETTINGS = (
    ("model_family", "Model family"),
    ("model_flavour", "Flavour"),
    ("model_type", "Kind of training"),
    ("lora_type", "Kind of adapter"),
    ("rank", "Rank"),
    ("steps", "Steps"),
    ("resolution", "Resolution"),
    ("learning_rate", "Learning rate"),
    ("batch_size", "Batch size"),
    ("optimizer", "Optimizer"),
    ("lr_scheduler", "Schedule"),
    ("mixed_precision", "Mixed precision"),
    ("base_model_precision", "Base model's precision"),
    ("seed", "Seed"),
    ("hardware", "Hardware"),
)


def model_card(shipment: Shipment, repo_id: str, *, license_id: str | None = None) -> str:
    """The whole README.md. ``license_id`` is the destination's wish; otherwise that of the facts counts."""
    facts = shipment.facts
    samples = _samples(shipment.files)
    lines = [
        *_front_matter(facts, samples, license_id or _text(facts.get("license"))),
        "",
        f"# {_plain(shipment.run_name) or 'Model'}",
        "",
        *_summary(facts),
        *_gallery(samples),
        *_usage(shipment, repo_id),
        *_datasets(facts),
        *_provenance(shipment),
    ]
    text = "\n".join(lines) + "\n"
    return f"{text}<!-- simpletuner-cloud:card sha256={_digest(text)} -->\n"


def is_untouched_card(text: str) -> bool:
    """Whether this README was written by ``model_card`` and not edited since; only such a one may be replaced."""
    found = _MARKER.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _front_matter(facts: Mapping[str, Any], samples: Sequence[ShippedFile], license_id: str | None) -> Iterator[str]:
    yield "---"
    for key, value in front_matter_license(license_id):
        yield f"{key}: {_quoted(value)}"
    base = facts.get("base_model")
    if is_repo_name(base) and "/" in str(base):
        yield f"base_model: {_quoted(str(base))}"
        if _is_adapter(facts):
            yield f"base_model_relation: {_quoted('adapter')}"
    yield f"library_name: {_quoted('diffusers')}"
    yield f"pipeline_tag: {_quoted('text-to-image')}"
    yield "tags:"
    for tag in _tags(facts):
        yield f"- {_quoted(tag)}"
    prompt = _text(facts.get("trigger"))
    if prompt:
        yield f"instance_prompt: {_quoted(prompt)}"
    if samples:
        shown = _text(facts.get("validation_prompt")) or prompt or "-"
        yield "widget:"
        for sample in samples:
            yield f"- text: {_quoted(shown)}"
            yield "  output:"
            yield f"    url: {_quoted(quote(sample.path))}"
    yield "---"


def _tags(facts: Mapping[str, Any]) -> list[str]:
    tags = ["simpletuner", "diffusers", "text-to-image"]
    if _is_adapter(facts):
        tags.append("lora")
    family = _text(facts.get("model_family"))
    if family and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", family) and family not in tags:
        tags.append(family)
    if facts.get("safe_for_work") is False:
        # https://huggingface.co/docs/hub/model-cards: how content that is not for everybody is marked.
        tags.append("not-for-all-audiences")
    return tags


def _is_adapter(facts: Mapping[str, Any]) -> bool:
    return "lora" in str(facts.get("model_type", "")).lower()


def _summary(facts: Mapping[str, Any]) -> Iterator[str]:
    base = _text(facts.get("base_model"))
    what = "An adapter (LoRA)" if _is_adapter(facts) else "A model"
    of = f" of {_code(base)}" if base else ""
    yield f"{what}{of}, trained with [SimpleTuner](https://github.com/bghira/SimpleTuner) by {PRODUCT}."
    yield ""
    note = _text(facts.get("note"))
    if note:
        yield _plain(note)
        yield ""
    trigger = _text(facts.get("trigger"))
    if trigger:
        yield "## Trigger words"
        yield ""
        yield f"Use {_code(trigger)} in the prompt."
        yield ""
    known = [(title, text) for key, title in _SETTINGS if (text := _text(facts.get(key)))]
    if known:
        yield "## Training"
        yield ""
        for title, text in known:
            yield f"- {title}: {_code(text)}"
        yield ""


def _samples(files: Sequence[ShippedFile]) -> list[ShippedFile]:
    pictures = [
        f for f in files if f.kind == FileKind.SAMPLE and not f.path.lower().endswith((".mp4", ".webm", ".mov"))
    ]
    # The last ones are of the last steps, as the names of validation pictures hold the step.
    return sorted(pictures, key=_by_number)[-MAX_SAMPLES:]


def _by_number(file: ShippedFile) -> tuple[tuple[int, str], ...]:
    """``step_500`` before ``step_1000``."""
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"([0-9]{1,15})", file.path))


def _gallery(samples: Sequence[ShippedFile]) -> Iterator[str]:
    if not samples:
        return
    yield "## Samples"
    yield ""
    for sample in samples:
        yield f"![A sample of the training]({quote(sample.path)})"
    yield ""


def _usage(shipment: Shipment, repo_id: str) -> Iterator[str]:
    facts = shipment.facts
    weights = [f for f in shipment.files if f.kind == FileKind.WEIGHTS]
    base = facts.get("base_model")
    if not (_is_adapter(facts) and weights and is_repo_name(base)):
        return
    prompt = _text(facts.get("validation_prompt")) or _text(facts.get("trigger")) or "a picture"
    folder, _, name = weights[0].path.rpartition("/")
    where = f", subfolder={_python(folder)}" if folder else ""
    yield "## Use"
    yield ""
    yield "```python"
    yield "import torch"
    yield "from diffusers import DiffusionPipeline"
    yield ""
    yield f"pipeline = DiffusionPipeline.from_pretrained({_python(str(base))}, torch_dtype=torch.bfloat16)"
    yield f"pipeline.load_lora_weights({_python(repo_id)}, weight_name={_python(name)}{where})"
    yield 'pipeline.to("cuda")'
    yield f"picture = pipeline({_python(prompt)}).images[0]"
    yield 'picture.save("picture.png")'
    yield "```"
    yield ""


def _datasets(facts: Mapping[str, Any]) -> Iterator[str]:
    given = facts.get("datasets")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return
    rows = [row for row in given if isinstance(row, Mapping)][:MAX_DATASETS]
    if not rows:
        return
    yield "## Datasets"
    yield ""
    for row in rows:
        counted = row.get("files")
        amount = f": {counted:,} files" if isinstance(counted, int) and not isinstance(counted, bool) else ""
        version = _text(row.get("version"))
        which = f", version {_code(version)}" if version else ""
        yield f"- {_code(_text(row.get('id')) or 'dataset')}{which}{amount}"
    yield ""


def _provenance(shipment: Shipment) -> Iterator[str]:
    yield "## Provenance"
    yield ""
    yield f"Job {_code(shipment.job_id)} of {PRODUCT}, {shipment.created_at:%Y-%m-%d}. SHA-256 of the weights:"
    yield ""
    for file in shipment.files:
        if file.kind == FileKind.WEIGHTS:
            yield f"- {_code(file.path)} ({file.size:,} bytes): {_code(file.sha256)}"
    yield ""


def _text(value: object) -> str | None:
    """One line of at most MAX_TEXT characters; None for what is nothing to show."""
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    clean = " ".join(str(value).encode("utf-8", "replace").decode().split())
    return clean[:MAX_TEXT] or None


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~$&:@])", r"\\\1", _text(text) or "")


def _code(text: str) -> str:
    """A code span; its delimiter is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{mark}{pad}{text}{pad}{mark}"


def _python(text: str) -> str:
    """A Python literal that can't end the code block it stands in."""
    return json.dumps(text).replace("`", "\\u0060")


def _quoted(text: str) -> str:
    """A double-quoted YAML scalar (https://yaml.org/spec/1.2.2/#57-escaped-characters)."""
    return '"' + "".join(_yaml_character(c) for c in text) + '"'


def _yaml_character(character: str) -> str:
    point = ord(character)
    if character in '"\\':
        return "\\" + character
    if 0x20 <= point <= 0x7E or (0xA0 <= point <= 0xFFFD and point not in {0x2028, 0x2029, 0xFEFF}):
        return "\ufffd" if 0xD800 <= point <= 0xDFFF else character
    if point > 0xFFFF:
        return character
    return f"\\u{point:04x}"
