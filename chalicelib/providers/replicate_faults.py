"""What a failed request to Replicate means: whose fault, and whether it may have taken effect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.redaction import Masker, redact
from chalicelib.providers.http import AnswerTooLarge, AnswerTooSlow, Refused, retry_after

MAX_DETAIL = 300

#: Statuses that mean a certain no, with whose fault it is, our code and the beginning of the message.
_REFUSALS: dict[int, tuple[FaultKind, str, str]] = {
    400: (FaultKind.USER, "provider_rejected", "Replicate did not understand the request"),
    401: (FaultKind.AUTH, "provider_auth", "Replicate does not accept the token"),
    402: (FaultKind.LIMIT, "provider_billing", "Replicate asks for payment"),
    403: (FaultKind.AUTH, "provider_auth", "Replicate does not allow this with the token"),
    404: (FaultKind.USER, "provider_not_found", "Replicate does not know this model, version or training"),
    409: (FaultKind.USER, "provider_conflict", "Replicate refuses this in the present state"),
    413: (FaultKind.USER, "provider_rejected", "The inputs are too large for Replicate"),
    422: (FaultKind.USER, "provider_rejected", "Replicate refused the inputs"),
    429: (FaultKind.THROTTLED, "provider_throttled", "Replicate asks to slow down"),
}
#: The request never left.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
#: Errors of ours in building a request.
_NEVER_BUILT = (httpx.LocalProtocolError, httpx.InvalidURL)


def fault_of(error: Exception, *, effect: bool, masks: Sequence[Masker]) -> ProviderFault:
    """The fault behind ``error``. ``effect``: the request would change something; ``masks`` hide what it held."""
    if isinstance(error, Refused):
        return _refused(error, effect=effect, masks=masks)
    if isinstance(error, _NOT_SENT):
        return ProviderFault(
            "Replicate can't be reached.", kind=FaultKind.PROVIDER, code="provider_unreachable", sent=False
        )
    if isinstance(error, _NEVER_BUILT):
        return ProviderFault(
            "The request to Replicate could not be made; check the provider's base URL.",
            kind=FaultKind.OURS,
            code="provider_request",
            sent=False,
        )
    if isinstance(error, httpx.TimeoutException | AnswerTooSlow):
        return ProviderFault(
            "Replicate did not answer in time.", kind=FaultKind.PROVIDER, code="provider_timeout", sent=effect
        )
    if isinstance(error, AnswerTooLarge):
        return ProviderFault(
            f"Replicate's answer is too large ({error}).",
            kind=FaultKind.PROVIDER,
            code="provider_bad_answer",
            sent=effect,
        )
    # Connection lost, broken HTTP, an encoding that can't be read, and whatever nobody has thought of.
    return ProviderFault(
        f"The connection to Replicate failed ({type(error).__name__}).",
        kind=FaultKind.PROVIDER,
        code="provider_no_answer",
        sent=effect,
    )


def bad_answer(what: str, *, effect: bool) -> ProviderFault:
    """A 2xx answer that can't be used; if the request had an effect, it took it."""
    return ProviderFault(
        f"Replicate's answer can't be used: {what}.", kind=FaultKind.PROVIDER, code="provider_bad_answer", sent=effect
    )


def _refused(refusal: Refused, *, effect: bool, masks: Sequence[Masker]) -> ProviderFault:
    status = refusal.status
    detail = _detail(refusal.body, masks)
    wait = retry_after(refusal.headers, detail)
    if status in _REFUSALS:
        kind, code, message = _REFUSALS[status]
        sent = False
    elif 400 <= status < 500 and status != 408:
        kind, code, message, sent = FaultKind.PROVIDER, "provider_refused", "Replicate refused the request", False
    elif status >= 500 or status == 408:
        kind, code, message, sent = FaultKind.PROVIDER, "provider_error", "Replicate had an error", effect
    else:
        kind, code, message, sent = FaultKind.PROVIDER, "provider_bad_answer", "Replicate answered oddly", effect
    text = f"{message} ({status})" + (f": {detail}" if detail else ".")
    return ProviderFault(text, kind=kind, code=code, sent=sent, status=status, retry_after=wait)


def _detail(body: bytes, masks: Sequence[Masker]) -> str:
    """The words of a problem document, one line. It may repeat our inputs, so they are masked before it is cut."""
    try:
        problem: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(problem, dict):
        return ""
    words = problem.get("detail") or problem.get("title") or ""
    text = words if isinstance(words, str) else json.dumps(words)
    for mask in masks:
        text = mask.mask(text)
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return text if len(text) <= MAX_DETAIL else f"{text[: MAX_DETAIL - 1]}…"
