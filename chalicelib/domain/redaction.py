"""Keeping secrets out of what is stored and shown.

A launch hands temporary credentials to the trainer inside its config, and a trainer that fails likes to print its
config. The provider shows those inputs and logs to us again, and we keep logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

#: A shorter value is no credential, and masking it would eat ordinary words.
MIN_SECRET_CHARS = 8
#: What stays readable of a masked value. Also what makes masking of a growing text stable, see ``Masker``.
SHOWN_CHARS = 4
_MASK = "*"

_SECRET_NAME = re.compile(r"(token|secret|password|passwd|api_?key|access_key|private_key|credential)", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|stu_[0-9a-z]+_[0-9A-Za-z]{16,}|r8_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|sk-[A-Za-z0-9_-]{16,}"
    r"|whsec_[A-Za-z0-9+/=]{16,}|(?:AKIA|ASIA)[0-9A-Z]{12,}|Bearer\s+[A-Za-z0-9._~+/=-]{8,})"
    r"|(?<=X-Amz-Signature=)[^&\s\"']+|(?<=X-Amz-Credential=)[^&\s\"']+|(?<=X-Amz-Security-Token=)[^&\s\"']+"
    r"|(?<=://)[^/\s:@]{1,200}:[^/\s@]{1,200}(?=@)",
    re.IGNORECASE,
)
# A name is looked at once, from its beginning, and never given back: a log line may hold megabytes of base64, or of the
# word "token". Quotes may be escaped, since configs are printed as JSON inside JSON.
_NAMED_VALUE = re.compile(
    r"(?P<name>(?<![\w-])(?=[\w-]{0,100}?(?:token|secret|password|access_key))[\w-]{1,150}+"
    r"[\\\"']{0,8}\s{0,3}[:=]\s{0,3}[\\\"']{0,8})(?P<value>[^\s\\\"',}]{8,})",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` without anything that looks like a credential. For messages; logs have ``redact_log``."""
    text = _NAMED_VALUE.sub(lambda m: f"{m['name']}[redacted]", text)
    return _SECRET_TEXT.sub("[redacted]", text)


def secret_values(inputs: Mapping[str, Any]) -> frozenset[str]:
    """The values in ``inputs`` whose names say that they are credentials, also inside texts that hold JSON."""
    return frozenset(_walk(inputs))


def spellings(values: Iterable[str]) -> frozenset[str]:
    """``values`` as they stand, as a URL spells them, and as JSON inside JSON does.

    A trainer prints presigned URLs, and its own config.
    """
    found: set[str] = set()
    for value in values:
        found |= {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]}
    return frozenset(found)


def redact_log(text: str, *, ended: bool) -> str:
    """A log without what looks like a credential, line by line; cut behind its last whole line unless it has ``ended``.

    A line is only redacted whole, so the redacted form of a growing log grows too.
    """
    whole = len(text) if ended else max(text.rfind("\n"), text.rfind("\r")) + 1
    return "".join(redact(line) for line in text[:whole].splitlines(keepends=True))


def _walk(root: Any) -> Iterator[str]:
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, Mapping):
            stack.extend((str(key), value) for key, value in node.items())
        elif isinstance(node, list | tuple):
            stack.extend((name, value) for value in node)
        elif isinstance(node, str):
            if len(node) >= MIN_SECRET_CHARS and _SECRET_NAME.search(name):
                yield node
            elif node[:1] in {"{", "["}:
                stack.append((name, _loads(node)))


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Masker:
    """Masks known secrets wherever they occur: the first four characters stay, each other becomes an asterisk.

    Masking a text that grows at its end is stable (except within the first four characters of a secret there is
    nothing to hide): a secret cut by the end is masked as far as it is there, at the same length. So a log that is
    read in snapshots still begins with what was kept of it before.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        usable = {s for s in secrets if len(s) >= MIN_SECRET_CHARS}
        # The longest first, so that a secret that begins with another one is masked whole.
        self._secrets = sorted(usable, key=lambda s: (-len(s), s))

    def __repr__(self) -> str:
        return f"Masker({len(self._secrets)} secrets)"

    def mask(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _masked(secret))
        for secret in self._secrets:
            cut = _cut_secret(text, secret)
            if cut > SHOWN_CHARS:
                return text[: len(text) - cut] + _masked(secret[:cut])
        return text


def _masked(secret: str) -> str:
    return secret[:SHOWN_CHARS] + _MASK * (len(secret) - SHOWN_CHARS)


def _cut_secret(text: str, secret: str) -> int:
    """How many characters at the end of ``text`` are the beginning of ``secret``; 0 when none.

    Looked for from where the first four characters occur, so the time is that of a search, not of every length.
    """
    head = secret[:SHOWN_CHARS]
    at = text.find(head, max(0, len(text) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(text[at:]):
            return len(text) - at
        at = text.find(head, at + 1)
    return 0
