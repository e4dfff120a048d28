"""What a file is: by its first bytes, by its name, and whether it may hold secrets."""

from __future__ import annotations

import struct

import pytest

from chalicelib.domain.media import Kind, is_secret_name, is_text_name, promised, secret_in, sniff, stem_of


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body


HEADS = {
    b"\xff\xd8\xff\xe0": (Kind.IMAGE, "jpeg"),
    b"\x89PNG\r\n\x1a\n": (Kind.IMAGE, "png"),
    b"GIF89a": (Kind.IMAGE, "gif"),
    b"RIFF\x00\x00\x00\x00WEBPVP8 ": (Kind.IMAGE, "webp"),
    b"RIFF\x00\x00\x00\x00AVI LIST": (Kind.VIDEO, "avi"),
    b"RIFF\x00\x00\x00\x00WAVEfmt ": (Kind.AUDIO, "wave"),
    b"BM\x00\x10\x00\x00\x00\x00\x00\x00": (Kind.IMAGE, "bmp"),
    b"II*\x00": (Kind.IMAGE, "tiff"),
    b"MM\x00*": (Kind.IMAGE, "tiff"),
    b"\xff\x0a\x00": (Kind.IMAGE, "jxl"),
    b"P6\n1 1\n255\n": (Kind.IMAGE, "pnm"),
    ftyp(b"isom", b"mp41"): (Kind.VIDEO, "mp4"),
    ftyp(b"qt  "): (Kind.VIDEO, "mp4"),
    ftyp(b"M4A ", b"mp42"): (Kind.AUDIO, "mp4"),
    ftyp(b"avif", b"mif1"): (Kind.IMAGE, "avif"),
    ftyp(b"mif1", b"avif"): (Kind.IMAGE, "avif"),
    ftyp(b"heic", b"mif1"): (Kind.IMAGE, "heif"),
    b"\x1aE\xdf\xa3": (Kind.VIDEO, "matroska"),
    b"OggS\x00\x02" + bytes(20) + b"OpusHead": (Kind.AUDIO, "ogg"),
    b"OggS\x00\x02" + bytes(20) + b"\x80theora": (Kind.VIDEO, "ogg"),
    b"fLaC": (Kind.AUDIO, "flac"),
    b"ID3\x04": (Kind.AUDIO, "mp3"),
    b"\xff\xfb\x90\x00": (Kind.AUDIO, "mp3"),
    b"\xff\xf1\x50\x80": (Kind.AUDIO, "aac"),
    b"FORM\x00\x00\x00\x00AIFF": (Kind.AUDIO, "aiff"),
    b"PAR1": (Kind.METADATA, "parquet"),
    b"%PDF-1.7": (Kind.OTHER, "pdf"),
    b"PK\x03\x04": (Kind.OTHER, "zip"),
    b"  <!DOCTYPE html>": (Kind.OTHER, "markup"),
    b"<svg xmlns=": (Kind.OTHER, "markup"),
}


@pytest.mark.parametrize(("head", "expected"), HEADS.items(), ids=lambda v: repr(v)[:40])
def test_the_first_bytes_tell(head: bytes, expected: tuple[Kind, str]) -> None:
    seen = sniff(head)
    assert seen is not None
    assert (seen.kind, seen.format) == expected


@pytest.mark.parametrize(
    "head", [b"", b"a", b"a cat on a mat", bytes(100), b"RIFF", b"BMW in red", b"\xff", b"\xff\xfe", "猫".encode()]
)
def test_text_and_noise_tell_nothing(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.JPG", Kind.IMAGE),
        ("x/y.webp", Kind.IMAGE),
        ("a.txt", Kind.CAPTION),
        ("clip.MKV", Kind.VIDEO),
        ("song.opus", Kind.AUDIO),
        ("metadata.jsonl", Kind.METADATA),
        ("README", Kind.OTHER),
        ("archive.zip", Kind.OTHER),
        (".hidden", Kind.OTHER),
    ],
)
def test_the_name_promises(path: str, kind: Kind) -> None:
    assert promised(path)[0] is kind


@pytest.mark.parametrize(
    "path",
    [".env", "x/.env.local", "prod.env", "key.PEM", "a/id_rsa", "id_ed25519.pub", "credentials.json", ".ssh/known"],
)
def test_names_of_secrets(path: str) -> None:
    assert is_secret_name(path)


@pytest.mark.parametrize("path", ["a.png", "environment.txt", "key.png", "my_rsa.txt", "keys/a.png"])
def test_names_of_no_secrets(path: str) -> None:
    assert not is_secret_name(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-----BEGIN " + "OPENSSH PRIVATE KEY-----", "a private key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "a private key"),
        ("key AKIA" + "ABCDEFGHIJKLMNOP.", "an AWS access key"),
        ("token=hf_" + "a" * 34, "a Hugging Face token"),
        ("r8_" + "b" * 37, "a Replicate token"),
        ("ghp_" + "c" * 36, "a GitHub token"),
    ],
)
def test_texts_with_secrets(text: str, what: str) -> None:
    assert secret_in(f"a cat\n{text}\n") == what


@pytest.mark.parametrize("text", ["", "a cat", "hf_model", "-----BEGIN CERTIFICATE-----", "AKIAB", "fr8_" + "b" * 40])
def test_texts_without(text: str) -> None:
    assert secret_in(text) is None


def test_which_files_are_searched_for_secrets() -> None:
    assert is_text_name("a.txt")
    assert is_text_name("notes")
    assert not is_text_name("a.png")
    assert not is_text_name("clip.mp4")


def test_an_image_and_its_caption_share_a_stem() -> None:
    assert stem_of("x/a.b.png") == stem_of("x/a.b.txt") == "x/a.b"
    assert stem_of("a.png") != stem_of("x/a.png")
