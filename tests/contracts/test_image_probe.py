"""The ImageProbe port: Pillow, and the fake that tests of the inspection use."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Protocol

import pytest
from PIL import Image

from chalicelib.domain.inspection_facts import INSPECTED_PIXELS_OF_OTHERS, THUMBNAIL, ImageProbe, Problem
from chalicelib.imaging.pillow_probe import PillowProbe
from tests.corpus.images import declaring, encoded, picture, png_chunks
from tests.fakes.probe import SIGNATURE, FakeProbe, fake_picture


class Stage(Protocol):
    probe: ImageProbe

    def sound(self, width: int, height: int, seed: int = 1) -> bytes: ...


class Fake:
    def __init__(self) -> None:
        self.probe = FakeProbe()

    def sound(self, width: int, height: int, seed: int = 1) -> bytes:
        return fake_picture(width, height, seed=seed)


class Pillow:
    def __init__(self) -> None:
        self.probe = PillowProbe()

    def sound(self, width: int, height: int, seed: int = 1) -> bytes:
        if width * height > INSPECTED_PIXELS_OF_OTHERS:
            return png_chunks(width, height, (b"IDAT", b""))
        return encoded(picture(width, height, seed=seed), "PNG")


@pytest.fixture(params=[Fake, Pillow])
def stage(request: pytest.FixtureRequest) -> Stage:
    made: Stage = request.param()
    return made


def test_a_sound_image_has_a_size_and_hashes_and_a_thumbnail_when_asked(stage: Stage) -> None:
    facts = stage.probe.look(stage.sound(320, 200), thumbnail=True)
    assert (facts.format, facts.width, facts.height, facts.problems) == ("png", 320, 200, ())
    assert facts.rows is not None
    assert facts.columns is not None
    assert 0 <= facts.rows < 2**64
    assert facts.thumbnail
    assert stage.probe.look(stage.sound(320, 200), thumbnail=False).thumbnail is None


def test_the_same_picture_has_the_same_hashes_and_another_one_others(stage: Stage) -> None:
    one, same = (stage.probe.look(stage.sound(256, 256, seed=3), thumbnail=False) for _ in range(2))
    other = stage.probe.look(stage.sound(256, 256, seed=4), thumbnail=False)
    assert (one.rows, one.columns) == (same.rows, same.columns)
    assert one.rows is not None
    assert other.rows is not None
    assert (one.rows ^ other.rows).bit_count() > 8


@pytest.mark.parametrize("data", [b"", b"text", SIGNATURE, bytes(1000), b"\xff\xd8\xff\xe0" + bytes(50)])
def test_what_is_no_image_is_a_verdict_and_no_error(stage: Stage, data: bytes) -> None:
    facts = stage.probe.look(data, thumbnail=True)
    assert set(facts.problems) & {Problem.UNREADABLE, Problem.TRUNCATED}
    assert facts.thumbnail is None


@pytest.mark.parametrize(
    ("width", "height", "problem"),
    [
        (60_000, 3_000, Problem.TOO_MANY_PIXELS),
        (13_000, 10_000, Problem.TOO_MANY_PIXELS),
        (11_000, 10_000, Problem.TOO_LARGE),
    ],
)
def test_too_many_pixels_are_not_decoded(stage: Stage, width: int, height: int, problem: Problem) -> None:
    facts = stage.probe.look(stage.sound(width, height), thumbnail=True)
    assert facts.problems == (problem,)
    assert facts.thumbnail is None


def test_a_sheet_is_made_of_none_of_one_and_of_bad_thumbnails(stage: Stage) -> None:
    thumb = stage.probe.look(stage.sound(320, 200), thumbnail=True).thumbnail or b""
    for thumbnails in ([], [thumb], [thumb, b"broken", thumb]):
        assert stage.probe.sheet(thumbnails)


# What only an imaging library can show


@pytest.mark.parametrize("name", ["JPEG2000", "WEBP", "TIFF"])
def test_formats_that_take_more_memory_have_a_lower_limit(name: str) -> None:
    facts = PillowProbe().look(declaring(name, 6_400, 6_300), thumbnail=True)
    assert (facts.format, facts.width, facts.height) == (name.lower(), 6_400, 6_300)
    assert facts.problems == (Problem.TOO_LARGE,)
    assert facts.rows is None


def test_a_sheet_shows_the_thumbnails_row_by_row() -> None:
    probe = PillowProbe()
    thumbs = [encoded(Image.new("RGB", (THUMBNAIL, THUMBNAIL), colour), "JPEG") for colour in ("red", "blue", "lime")]
    with Image.open(io.BytesIO(probe.sheet(thumbs))) as sheet:
        assert sheet.size == (2 * THUMBNAIL, 2 * THUMBNAIL)
        middles = [sheet.getpixel((x, y)) for y in (64, 192) for x in (64, 192)]
    for middle, wanted in zip(middles, [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)], strict=True):
        assert isinstance(middle, tuple)
        assert all(abs(a - b) < 12 for a, b in zip(middle, wanted, strict=True))


def test_a_thumbnail_is_small_and_as_shown() -> None:
    facts = PillowProbe().look(encoded(picture(1600, 400), "JPEG"), thumbnail=True)
    assert facts.thumbnail is not None
    with Image.open(io.BytesIO(facts.thumbnail)) as thumb:
        assert (thumb.format, thumb.size) == ("JPEG", (THUMBNAIL, 32))


def test_a_copy_of_another_size_and_format_looks_the_same() -> None:
    image = picture(800, 600, seed=9)
    one = PillowProbe().look(encoded(image, "PNG"), thumbnail=False)
    other = PillowProbe().look(encoded(image.resize((400, 300)), "JPEG", quality=80), thumbnail=False)
    assert one.rows is not None
    assert other.rows is not None
    assert (one.rows ^ other.rows).bit_count() <= 4


def icon(width: int, height: int, picture: bytes) -> bytes:
    """An icon whose directory says nothing of the size of its one picture."""
    entry = bytes([0, 0, 0, 0]) + b"\1\0\x20\0" + len(picture).to_bytes(4, "little") + (22).to_bytes(4, "little")
    return b"\0\0\1\0\1\0" + entry + picture


@pytest.mark.parametrize(
    "inside",
    [
        lambda w, h: png_chunks(w, h, (b"IDAT", zlib.compress(bytes(1_000)))),
        lambda w, h: struct.pack("<IiiHHIIiiII", 40, w, 2 * h, 1, 32, 0, 0, 0, 0, 0, 0),
    ],
    ids=["PNG", "bitmap"],
)
def test_a_large_picture_in_an_icon_is_not_decoded(inside: Callable[[int, int], bytes]) -> None:
    facts = PillowProbe().look(icon(13_000, 10_000, inside(13_000, 10_000)), thumbnail=True)
    assert (facts.format, facts.problems) == ("ico", (Problem.TOO_MANY_PIXELS,))
    sound = encoded(picture(200, 200, seed=1), "PNG")
    facts = PillowProbe().look(icon(200, 200, sound), thumbnail=True)
    assert (facts.format, facts.width, facts.height) == ("ico", 200, 200)
    assert Problem.TOO_MANY_PIXELS not in facts.problems


@pytest.mark.parametrize("cut", [3, 4, 5, 6, 10, 21, 22, 30, 45])
def test_an_icon_that_is_cut_is_a_verdict(cut: int) -> None:
    whole = icon(200, 200, encoded(picture(200, 200, seed=1), "PNG"))
    assert PillowProbe().look(whole[:cut], thumbnail=True).problems
