"""What stands in text files: secrets, which stay on this computer, and captions that the trainer can't use.

The patterns and rules are those of the server's inspection (a test compares them): what it would find after the upload
is found before.
"""

from __future__ import annotations

import re

from stcloud.kinds import CAPTION_SUFFIX
from stcloud.listing import Flaw

#: So much of a text is looked at; longer captions are none.
MAX_TEXT_BYTES = 1024 * 1024
#: How the reason begins for which a text with a secret is left out.
HOLDS = "holds what looks like "
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"), "a private key"),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])"), "an AWS access key"),
    (re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a Hugging Face token"),
    (re.compile(r"(?<![A-Za-z0-9_])r8_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a Replicate token"),
    (re.compile(r"(?<![A-Za-z0-9_])gh[pousr]_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a GitHub token"),
)
#: One of these is in every text that holds a secret; most texts hold none, and looking for these is quick.
_MARKS = re.compile(rb"PRIVATE KEY|A[KS]IA|hf_|r8_|gh[pousr]_")
_BOM = b"\xef\xbb\xbf"


def secret_reason(data: bytes) -> str | None:
    """Why a text with these first bytes stays here: the secret it seems to hold, in words; never the secret itself."""
    if _MARKS.search(data) is None:
        return None
    text = data.decode("utf-8", "replace")
    return next((HOLDS + what for pattern, what in _SECRETS if pattern.search(text)), None)


def caption_flaw(data: bytes, size: int) -> Flaw:
    """What is wrong with a caption of ``size`` bytes; ``data`` is all of it, or its first MAX_TEXT_BYTES."""
    if size > MAX_TEXT_BYTES:
        return Flaw.NONE
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError:
        return Flaw.NOT_UTF8
    if "\x00" in text:
        return Flaw.NOT_UTF8
    return Flaw.NONE if text.strip() else Flaw.EMPTY


def judge(data: bytes, size: int, suffix: str) -> tuple[str | None, Flaw]:
    """Why a text stays here (None: it does not), and what is wrong with it otherwise."""
    reason = secret_reason(data)
    return reason, caption_flaw(data, size) if reason is None and suffix == CAPTION_SUFFIX else Flaw.NONE
