"""The demo's dataset: its table, and how pieces are cut."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from PIL import Image

from local.demo.captions import PIECES, SOURCES, Piece
from local.demo.errors import DemoError
from local.demo.pictures import DATA, MAX_SIDE, MIN_SIDE, cut, photographs, sides

README = Path(__file__).parents[3] / "local" / "demo" / "README.md"


def source(folder: Path, name: str, size: tuple[int, int], mode: str = "RGB") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size).convert(mode).save(folder / name)
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_there_are_enough_pieces_with_captions_of_their_own() -> None:
    assert len(PIECES) >= 24
    assert len({p.name for p in PIECES}) == len(PIECES)
    assert len({p.caption for p in PIECES}) == len(PIECES)
    for piece in PIECES:
        assert re.fullmatch(r"[a-z0-9-]+", piece.name)
        assert 20 <= len(piece.caption) <= 200
        left, top, right, bottom = piece.box
        assert 0 <= left < right
        assert 0 <= top < bottom


def test_every_source_is_used_guarded_and_attributed() -> None:
    assert {p.source for p in PIECES} == set(SOURCES)
    readme = README.read_text(encoding="utf-8")
    for name, digest in SOURCES.items():
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert f"| {name} |" in readme
    assert f"{len(PIECES)} captioned pieces" in readme


@pytest.mark.parametrize("piece", PIECES, ids=lambda p: p.name)
def test_every_piece_has_sides_a_trainer_takes(piece: Piece) -> None:
    left, top, right, bottom = piece.box
    scaled = sides((right - left, bottom - top))
    assert min(scaled) >= MIN_SIDE
    assert max(scaled) <= MAX_SIDE


def test_pieces_are_written_with_their_captions(tmp_path: Path) -> None:
    sources = {"colour.png": source(tmp_path / "in", "colour.png", (600, 400))}
    sources["grey.png"] = source(tmp_path / "in", "grey.png", (300, 300), "L")
    pieces = (
        Piece("one", "colour.png", (0, 0, 300, 200), "a red cup"),
        Piece("two", "grey.png", (0, 0, 128, 128), "x"),
    )
    (tmp_path / "out").mkdir()
    cut(tmp_path / "in", tmp_path / "out", pieces, sources)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.jpg", "one.txt", "two.png", "two.txt"]
    assert (tmp_path / "out" / "one.txt").read_text() == "a red cup\n"
    with Image.open(tmp_path / "out" / "one.jpg") as image:
        assert image.size == (384, 256)
    with Image.open(tmp_path / "out" / "two.png") as image:
        assert (image.size, image.mode) == ((256, 256), "RGB")


def test_another_picture_under_the_name_is_refused(tmp_path: Path) -> None:
    source(tmp_path / "in", "a.png", (300, 300))
    with pytest.raises(DemoError, match="not the one"):
        cut(tmp_path / "in", tmp_path, (), {"a.png": "0" * 64})
    with pytest.raises(DemoError, match=r"b\.png is not in"):
        cut(tmp_path / "in", tmp_path, (), {"b.png": "0" * 64})


def test_a_failed_cut_leaves_no_half_made_folder(tmp_path: Path) -> None:
    def install(folder: Path) -> None:
        for name in SOURCES:
            source(folder / DATA, name, (16, 16))

    told: list[str] = []
    with pytest.raises(DemoError, match="not the one"):
        photographs(tmp_path, say=told.append, install=install)
    assert [p.name for p in tmp_path.iterdir()] == ["pictures-package"]
    assert told
