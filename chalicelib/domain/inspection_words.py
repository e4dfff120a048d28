"""The words of findings: by code, how bad it is, what it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.domain.inspection_facts import Problem
from chalicelib.domain.inspection_findings import Level


@dataclass(frozen=True)
class Words:
    """``one`` and ``many`` are the message for one file and for several, ``{n}`` being their number."""

    level: Level
    one: str
    many: str
    advice: str


_E, _W, _N = Level.ERROR, Level.WARNING, Level.NOTE

PROBLEMS: dict[Problem, Words] = {
    Problem.EMPTY_FILE: Words(
        _E,
        "A media file is empty.",
        "{n} media files are empty.",
        "Copy them again from where they came, or remove them.",
    ),
    Problem.NOT_AN_IMAGE: Words(
        _E,
        "A file is named like an image and is none.",
        "{n} files are named like images and are none.",
        "Remove them, or give them the suffix of what they are. The trainer would fail on them or pass them over.",
    ),
    Problem.UNREADABLE: Words(
        _E, "An image can't be decoded.", "{n} images can't be decoded.", "Export them anew, or remove them."
    ),
    Problem.TRUNCATED: Words(
        _E,
        "An image is cut off: its end is missing.",
        "{n} images are cut off: their ends are missing.",
        "Copy or download them again, or remove them.",
    ),
    Problem.TOO_MANY_PIXELS: Words(
        _E,
        "An image has more than 120 million pixels.",
        "{n} images have more than 120 million pixels.",
        "Scale them down; the trainer scales them to one or two million anyhow.",
    ),
    Problem.FORMAT_UNSUPPORTED: Words(
        _E,
        "An image is in a format that the trainer can't read.",
        "{n} images are in formats that the trainer can't read.",
        "Convert them to PNG, JPEG or WebP.",
    ),
    Problem.CHECKSUM: Words(
        _E,
        "A file is not what its manifest says: its SHA-256 differs.",
        "{n} files are not what their manifest says: their SHA-256 differ.",
        "Push the dataset again: the files changed while they were uploaded.",
    ),
    Problem.MISSING: Words(
        _E,
        "A file of the manifest is not in the store.",
        "{n} files of the manifest are not in the store.",
        "Delete this version and push the dataset again.",
    ),
    Problem.SECRET_NAME: Words(
        _E,
        "A file is named like one that holds secrets.",
        "{n} files are named like ones that hold secrets.",
        "Remove them from the folder, push again, delete this version, and change what they held.",
    ),
    Problem.SECRET_CONTENT: Words(
        _E,
        "A text file holds what looks like a key or token.",
        "{n} text files hold what looks like keys or tokens.",
        "Revoke the key, take it out of the text, push again and delete this version.",
    ),
    Problem.CAPTION_NOT_UTF8: Words(
        _E,
        "A caption is not UTF-8 text, so the trainer can't read it.",
        "{n} captions are not UTF-8 text, so the trainer can't read them.",
        "Save them as UTF-8 (for Shift_JIS: iconv -f CP932 -t UTF-8 old.txt > new.txt).",
    ),
    Problem.CMYK: Words(
        _W,
        "An image is in CMYK, made for print.",
        "{n} images are in CMYK, made for print.",
        "Convert them to RGB with their colour profile; the trainer converts without it, and colours shift.",
    ),
    Problem.DEEP: Words(
        _W,
        "An image has 16 bits or more per channel.",
        "{n} images have 16 bits or more per channel.",
        "Convert them to 8 bits yourself; the trainer cuts the values off, and they may come out white or black.",
    ),
    Problem.ANIMATED: Words(
        _W,
        "An image is animated; only its first frame is trained.",
        "{n} images are animated; only their first frames are trained.",
        "Save the frame you want as PNG, or the whole as a video for a video dataset.",
    ),
    Problem.INVISIBLE: Words(
        _W,
        "An image is transparent all over.",
        "{n} images are transparent all over.",
        "Remove them: flattened they are one plain colour.",
    ),
    Problem.CAPTION_EMPTY: Words(
        _W,
        "A caption is empty.",
        "{n} captions are empty.",
        "Write them, or remove the files if you train without captions.",
    ),
    Problem.CAPTION_HUGE: Words(
        _W,
        "A caption has more than 1 MiB.",
        "{n} captions have more than 1 MiB.",
        "Is it a caption at all? A text encoder reads a few hundred words.",
    ),
    Problem.MISLABELLED: Words(
        _N,
        "A file has another format than its suffix says.",
        "{n} files have other formats than their suffixes say.",
        "The trainer goes by the content, so this works; rename them when other programs shall read them.",
    ),
    Problem.ALPHA: Words(
        _N,
        "An image has transparent parts.",
        "{n} images have transparent parts.",
        "The trainer puts them on a background of its own. Flatten them yourself if it matters which.",
    ),
    Problem.PALETTE: Words(
        _N,
        "An image has a palette of at most 256 colours.",
        "{n} images have palettes of at most 256 colours.",
        "It works. If there is an original in full colour, use that.",
    ),
    Problem.ROTATED: Words(
        _N,
        "An image is turned by its EXIF data alone.",
        "{n} images are turned by their EXIF data alone.",
        "Sizes here are those as shown. To be sure how they are trained, turn the pixels themselves (jhead -autorot).",
    ),
    Problem.TINY: Words(
        _W,
        "An image is smaller than 64 pixels on a side.",
        "{n} images are smaller than 64 pixels on a side.",
        "Remove icons and thumbnails that got in by mistake, unless you train at such sizes.",
    ),
    Problem.TOO_LARGE: Words(
        _W,
        "An image has too many pixels to be looked at: more than 40 million as JPEG 2000, WebP, AVIF, TIFF, PSD or "
        "ICO, or than 100 million in another format.",
        "{n} images have too many pixels to be looked at: more than 40 million as JPEG 2000, WebP, AVIF, TIFF, PSD or "
        "ICO, or than 100 million in another format.",
        "Whether they can be decoded is not known. Scale them down, or make sure yourself that they are whole.",
    ),
    Problem.NOT_INSPECTED: Words(
        _W,
        "An image was not looked at: looking at it, or at one of the files around it, failed again and again.",
        "{n} images were not looked at: looking at them, or at one of the files around them, failed again and again.",
        "Inspect again. If that does not help, save the pictures anew as PNG or JPEG and push them.",
    ),
    Problem.BIG_FILE: Words(
        _W,
        "An image has more than 200 MB and was not looked at.",
        "{n} images have more than 200 MB and were not looked at.",
        "Scale it down, or save it as PNG or WebP.",
    ),
    Problem.NOT_HASHED: Words(
        _N,
        "A file has more than 24 GiB: the checksums of its parts were confirmed, not that of the whole.",
        "{n} files have more than 24 GiB: the checksums of their parts were confirmed, not those of the whole.",
        "There is nothing to do.",
    ),
    Problem.CAPTION_BOM: Words(
        _N,
        "A caption begins with a byte order mark.",
        "{n} captions begin with a byte order mark.",
        "Save them as UTF-8 without BOM, or the mark becomes part of the caption.",
    ),
    Problem.UNKNOWN: Words(
        _N,
        "A file is neither image, video, audio, caption nor metadata.",
        "{n} files are neither image, video, audio, caption nor metadata.",
        "The trainer ignores them. Leave them out to save space.",
    ),
}
