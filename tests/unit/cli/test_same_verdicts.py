"""What the command line and the server's inspection say of the same file must be the same."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stcloud import kinds, packed_entries, texts
from stcloud.heads import HEAD, UNREAD_BY_TRAINER, WITHOUT_SIGNATURE, image_format
from stcloud.listing import Flaw
from stcloud.scan import judge_media

from chalicelib.domain import archive_names, captions, media
from chalicelib.domain.archive_names import EncodingVote
from tests.corpus import images

KINDS = {
    kinds.Kind.IMAGE: media.Kind.IMAGE,
    kinds.Kind.VIDEO: media.Kind.VIDEO,
    kinds.Kind.AUDIO: media.Kind.AUDIO,
    kinds.Kind.CAPTION: media.Kind.CAPTION,
    kinds.Kind.METADATA: media.Kind.METADATA,
    kinds.Kind.UNKNOWN: media.Kind.OTHER,
}
SUFFIXES = sorted({*media.SUFFIXES, *media.TEXT_SUFFIXES, ".docx", ".svg", ".pdf", ".npz", ""})
HEADS = [
    *(start for start, _, _ in media._STARTS),
    *(b"\x00\x00\x00\x18ftyp" + brand for brand in (b"avif", b"avis", b"heic", b"mif1", b"jxl ", b"isom", b"M4A ")),
    *(b"RIFF\x24\x00\x00\x00" + kind for kind in (b"WEBP", b"WAVE", b"AVI ")),
    b"BM\x10\x00\x00\x00\x00\x00\x00\x00",
    b"BMW is a car, not a bitmap",
    b"P6\n10 10\n255\n",
    b"<!DOCTYPE html>",
    b"\xff",
    b"RIFF",
    b"OggS",
    b"hello",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names(suffix: str) -> None:
    path = f"a{suffix}"
    assert KINDS[kinds.kind_of(suffix)] is media.promised(path)[0]
    assert kinds.is_text(suffix) is media.is_text_name(path)


@pytest.mark.parametrize("head", HEADS)
def test_heads(head: bytes) -> None:
    seen = media.sniff(head)
    expected = seen.format if seen is not None and seen.kind is media.Kind.IMAGE else None
    assert image_format(head[:HEAD]) == expected
    if expected is not None:
        assert (expected not in media.TRAINER_IMAGES) is (expected in UNREAD_BY_TRAINER)


CONTENTS = {
    **{case.name: case.data for case in images.cases()},
    **{
        f"{major.decode()}-{other.decode()}.{'jpg' if odd else 'avif'}": struct.pack(">I", 24)
        + (b"ftyp" + major + bytes(4) + b"miaf" + other + bytes(99))
        for major in (b"isom", b"mp42", b"mif1", b"heic", b"avif", b"M4A ")
        for other in (b"avif", b"isom", b"heic")
        for odd in (True, False)
    },
    "few-brands.heic": struct.pack(">I", 16) + b"ftypmif1" + bytes(4) + b"avif" + bytes(99),
    "many-brands.avif": struct.pack(">I", 4096) + b"ftypmif1" + bytes(4) + b"miaf" * 59 + b"avif" + bytes(999),
    "too-many-brands.avif": struct.pack(">I", 4096) + b"ftypmif1" + bytes(4) + b"miaf" * 60 + b"avif" + bytes(999),
    "bitmap.jpg": b"P4\n8 8\n" + bytes(8),
    "no-number.ppm": b"P7\nWIDTH 8\n",
    "sound.png": b"\xff\xfb\x90\x64" + bytes(400),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents_under_their_name_and_others(name: str) -> None:
    """A folder here, an archive there, and the inspection say the same, whatever a content is named."""
    data = CONTENTS[name]
    seen = media.sniff(data[: media.HEAD_BYTES])
    image = seen is not None and seen.kind is media.Kind.IMAGE
    for path in (name, *(f"{name}{suffix}" for suffix in (".jpg", ".png", ".heic", ".mp4", ".txt", ".tga"))):
        suffix = media.suffix_of(path)
        here, flaw = judge_media(data[:HEAD], suffix, len(data))
        there = archive_names.judge_content(path, len(data), data[: archive_names.HEAD])
        assert here == (there and there[1]), path
        if data and suffix != ".tga" and media.promised(path)[0] is media.Kind.IMAGE:
            assert (here is None) is image, path
        unread = image and seen is not None and seen.format not in media.TRAINER_IMAGES
        assert (flaw is Flaw.FORMAT) is (unread and media.promised(path)[0] is media.Kind.IMAGE), path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("head", [b"", b"8BPS\x00\x01", b"hello", b"\xff\xd8\xff\xe0"])
def test_files_of_an_archive_and_of_a_folder(suffix: str, head: bytes) -> None:
    there = archive_names.judge_content(f"a{suffix}", len(head), head)
    here, _ = judge_media(head, suffix, len(head))
    assert here == (there and there[1])


def test_a_photoshop_file_is_an_image_everywhere() -> None:
    assert judge_media(b"8BPS\x00\x01", ".psd", 6) == (None, Flaw.NONE)
    assert judge_media(b"hello", ".psd", 5)[0] is not None
    assert ".tga" in WITHOUT_SIGNATURE


NAMES = [".env", "a.env", ".env.local", "x.PEM", "id_rsa.pub", "credentials.csv", ".netrc", ".ssh", "a.jpg", "keys.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_may_hold_secrets(name: str) -> None:
    assert (kinds.private_part(name) == "may hold secrets") is media.is_secret_name(name)


SECRETS = [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    "-----BEGIN PUBLIC KEY-----",
    "AKIA" + "A1" * 8,
    "ASIA" + "A1" * 8,
    "AKIA" + "A1" * 9,
    "hf_" + "a" * 34,
    "hf_short",
    "r8_" + "b" * 37,
    *(f"gh{kind}_" + "c" * 36 for kind in "pousr"),
    "a photo of a cat",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_in_texts(secret: str) -> None:
    text = f"a red cup, {secret} on a table"
    what = media.secret_in(text)
    assert texts.secret_reason(text.encode()) == (what and texts.HOLDS + what)
    assert secret not in (texts.secret_reason(text.encode()) or "")


CAPTIONS = [b"a cat", b"", b" \n\t", b"\xef\xbb\xbf", "猫".encode(), "猫".encode("cp932"), b"\xff\xfea\x00", b"a\x00b"]


@pytest.mark.parametrize("data", CAPTIONS)
def test_captions(data: bytes) -> None:
    problems = {None: Flaw.NONE, "empty": Flaw.EMPTY, "not_utf8": Flaw.NOT_UTF8}
    assert texts.caption_flaw(data, len(data)) is problems[captions.read_caption(data).problem]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_names_without_an_encoding_are_read_alike(raws: list[bytes]) -> None:
    vote = EncodingVote()
    for raw in raws:
        vote.see(raw)
    japanese = any(map(packed_entries._is_japanese, raws))
    possible = [e for e in packed_entries._ENCODINGS if e != "cp932" or japanese]
    found = next(e for e in possible if all(packed_entries._decodes(raw, e) for raw in raws))
    assert vote.winner in {found, "ascii"}
