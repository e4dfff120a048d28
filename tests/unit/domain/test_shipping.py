"""Which files are sent, and what they are called at the destination."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.destinations import DEFAULT_PARTS, Part
from chalicelib.domain.escrow import FileKind, Manifest, OutputFile
from chalicelib.domain.shipping import RESERVED, delivered_manifest, manifest_file, shipment_files

ROOT = "local/j1/artifacts/"
ALL = tuple(Part)


def output(path: str, kind: FileKind, *, problem: str | None = None) -> OutputFile:
    return OutputFile(
        path=path, size=len(path), kind=kind, sha256=(path.encode().hex() + "0" * 64)[:64], problem=problem
    )


def manifest(*files: OutputFile) -> Manifest:
    return Manifest(job_id="j1", created_at="2026-11-24T12:00:00+00:00", complete=True, files=files)


def sent(*files: OutputFile, include: tuple[Part, ...] = ALL) -> dict[str, str]:
    return {f.source_key.removeprefix(ROOT): f.path for f in shipment_files(manifest(*files), include, ROOT)}


def test_weights_lie_at_the_root_and_samples_in_a_folder() -> None:
    weights = output("checkpoint-200/pytorch_lora_weights.safetensors", FileKind.WEIGHTS)
    sample = output("validation_images/cat.png", FileKind.SAMPLE)
    older = output("checkpoint-100/pytorch_lora_weights.safetensors", FileKind.CHECKPOINT)
    other = output("logs/train.txt", FileKind.OTHER)
    assert sent(sample, other, older, weights, include=DEFAULT_PARTS) == {
        weights.path: "pytorch_lora_weights.safetensors",
        sample.path: "samples/cat.png",
    }
    assert sent(sample, other, older, weights) == {
        weights.path: "pytorch_lora_weights.safetensors",
        sample.path: "samples/cat.png",
        older.path: older.path,
        other.path: other.path,
    }


def test_names_that_meet_keep_their_folders() -> None:
    final = output("pytorch_lora_weights.safetensors", FileKind.WEIGHTS)
    last = output("checkpoint-200/pytorch_lora_weights.safetensors", FileKind.WEIGHTS)
    one, two = output("a/x.png", FileKind.SAMPLE), output("b/x.png", FileKind.SAMPLE)
    assert sent(final, last, one, two) == {
        final.path: final.path,
        last.path: last.path,
        one.path: "samples/a/x.png",
        two.path: "samples/b/x.png",
    }


def test_nothing_is_called_as_what_a_destination_writes_itself() -> None:
    readme, listed = output("README.md", FileKind.OTHER), output("manifest.json", FileKind.OTHER)
    root, weights = (
        output("model.safetensors", FileKind.OTHER),
        output("checkpoint-2/model.safetensors", FileKind.WEIGHTS),
    )
    assert sent(readme, listed, root, weights) == {
        readme.path: "published/README.md",
        listed.path: "published/manifest.json",
        root.path: root.path,
        weights.path: weights.path,
    }


def test_what_is_not_sound_stays() -> None:
    broken = output("x.png", FileKind.SAMPLE, problem="it disappeared")
    unread = OutputFile(path="y.png", size=1, kind=FileKind.SAMPLE)
    assert sent(broken, unread) == {}


def test_the_manifest_goes_along_with_the_destinations_paths() -> None:
    weights = output("checkpoint-2/w.safetensors", FileKind.WEIGHTS).model_copy(update={"rank": 4, "dtypes": ("F32",)})
    files = shipment_files(manifest(weights), DEFAULT_PARTS, ROOT)
    data = delivered_manifest(manifest(weights), files, ROOT)
    assert data == delivered_manifest(manifest(weights), files, ROOT)
    assert json.loads(data)["files"] == [
        {
            "path": "w.safetensors",
            "size": weights.size,
            "sha256": weights.sha256,
            "kind": "weights",
            "published_as": weights.path,
            "rank": 4,
            "dtypes": ["F32"],
        }
    ]
    shipped = manifest_file("k", data)
    assert (shipped.path, shipped.size, shipped.source_key) == ("manifest.json", len(data), "k")


_NAMES = st.sampled_from(["a", "b", "samples", "published", "README.md", "manifest.json", "w.safetensors", "a.png"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(_PATHS, st.sampled_from(FileKind), max_size=12), st.sets(st.sampled_from(Part), min_size=1))
def test_paths_differ_and_do_not_depend_on_what_is_included(kinds: dict[str, FileKind], include: set[Part]) -> None:
    files = [output(path, kind) for path, kind in kinds.items()]
    everything = sent(*files)
    assert len(set(everything.values())) == len(everything) == len(files)
    assert not RESERVED & set(everything.values())
    part = sent(*files, include=tuple(include))
    assert part == {path: everything[path] for path in part}
