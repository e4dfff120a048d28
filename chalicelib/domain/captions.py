"""What a caption file holds, and how many tokens a text encoder makes of it at most."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

#: Longer than any caption; such a file is not read.
MAX_CAPTION_BYTES = 1024 * 1024
#: Tokens that CLIP's encoder takes, begin and end among them (SD 1.5, SDXL, and the CLIP half of SD3 and Flux).
CLIP_TOKENS = 77
#: Those of T5 and its like where the trainer's default is short (SD3: 154 or 256), and where it is long (Flux: 512).
T5_SHORT_TOKENS = 256
T5_LONG_TOKENS = 512

_BOM = b"\xef\xbb\xbf"
_WORD = re.compile(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]")
#: Characters of one token of a Latin word, about: common words are one token, rare ones break into pieces.
_PIECE = 7


@dataclass(frozen=True)
class CaptionText:
    """``problem`` is "empty", "not_utf8" or None. ``tokens`` estimates the longest line, since the trainer takes each
    line for a caption of its own. ``digest`` tells same texts apart from others."""

    problem: str | None
    bom: bool = False
    lines: int = 0
    words: int = 0
    chars: int = 0
    tokens: int = 0
    digest: str = ""


def read_caption(data: bytes) -> CaptionText:
    """Reads the bytes of a caption file as the trainer would (UTF-8, each line that is not empty a caption)."""
    bom = data.startswith(_BOM)
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError:
        return CaptionText("not_utf8")
    if "\x00" in text:
        return CaptionText("not_utf8")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        return CaptionText("empty", bom=bom)
    return CaptionText(
        problem=None,
        bom=bom,
        lines=len(lines),
        words=max(len(line.split()) for line in lines),
        chars=max(len(line) for line in lines),
        tokens=max(estimate_tokens(line) for line in lines),
        digest=hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
    )


def estimate_tokens(line: str) -> int:
    """About how many tokens CLIP makes of the line, begin and end among them; rather too many than too few.

    A Latin word counts one, and one more for every seven letters beyond the first seven; a digit, a mark and a
    character of any other script count one each. Without the tokenizer itself this is an estimate.
    """
    return 2 + sum(1 + (len(word) - 1) // _PIECE for word in _WORD.findall(line))
