"""What the Hub's answers mean for a delivery: one place that turns them into DeliveryFaults with advice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from chalicelib.domain.delivery_ports import DeliveryFault

MAX_EXCERPT = 200
#: A file is 50 GB at most: https://huggingface.co/docs/hub/repositories-recommendations
MAX_FILE_BYTES = 50 * 1000**3

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{4,}|Bearer\s+\S+|[?&](X-Amz-[A-Za-z-]+|key|sig|Signature)=[^&\s]+")
_QUOTA = re.compile(r"storage (limit|quota)|quota|upgrade your plan|payment required|exceeded your", re.IGNORECASE)
_TOO_LARGE = re.compile(r"max(imum)? (allowed )?file size|too large|50 ?GB", re.IGNORECASE)
#: Commits and creations of one repository exclude each other; the Hub says so with a 409:
#: https://github.com/huggingface/huggingface_hub/pull/1675
BUSY = re.compile(r"conflicting operation is in progress|commit operation is in progress", re.IGNORECASE)
_LOST_OBJECT = re.compile(r"LFS pointer pointed to a file that does not exist", re.IGNORECASE)
_RATELIMIT = re.compile(r'"\w+"\s*;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)')


@dataclass(frozen=True)
class HubWords:
    """What messages name: where the Hub is, the repository, and the credential by its name."""

    endpoint: str
    repo_id: str
    credential: str | None

    @property
    def rotate(self) -> str:
        name = self.credential or "NAME"
        return (
            f"make a token that may write to {self.repo_id} at {self.endpoint}/settings/tokens, then: "
            f"stcloud credentials rotate {name}"
        )

    def answered(self, status: int, headers: Mapping[str, str], text: str) -> DeliveryFault:
        """The fault for an answer that is no success."""
        said = excerpt(headers.get("x-error-message") or text)
        if status == 401:
            return DeliveryFault(
                "unauthorized",
                f"The Hub does not accept the token ({said or 401}).",
                f"It was revoked, has expired or is mistyped: {self.rotate}",
                retry=False,
            )
        if status in {402, 403} and _QUOTA.search(said):
            return self._quota(said)
        if status == 403:
            return DeliveryFault(
                "forbidden",
                f"The token may not write to {self.repo_id} ({said or 403}).",
                f"Choose a repository of your own, or {self.rotate}",
                retry=False,
            )
        if status == 404:
            return DeliveryFault(
                "not_found",
                f"{self.repo_id} is not there, or the token can't see it ({said or 404}).",
                f"Look at {self.endpoint}/{self.repo_id}, then deliver again: stcloud jobs deliver JOB "
                f"--to huggingface:{self.repo_id}",
                retry=False,
            )
        return self._later(status, headers, said)

    def _later(self, status: int, headers: Mapping[str, str], said: str) -> DeliveryFault:
        if status == 429:
            return DeliveryFault(
                "throttled",
                "The Hub asks to wait: too many requests with this token.",
                "Nothing to do: it is tried again when the Hub says so.",
                retry=True,
                retry_after=asked_pause(headers),
            )
        if status in {409, 412}:
            return DeliveryFault(
                "conflict",
                f"Somebody else is writing to {self.repo_id} ({said or status}).",
                "Nothing to do: it is tried again. If it goes on, look for another program that writes there.",
                retry=True,
                retry_after=asked_pause(headers),
            )
        if status == 408:
            return timed_out("the Hub waited too long for the request")
        if status == 402:
            return self._quota(said or "payment required")
        if status == 413 or _TOO_LARGE.search(said):
            return self.too_large(said or "too large")
        if 400 <= status < 500:
            lost = bool(_LOST_OBJECT.search(said))
            return DeliveryFault(
                "bad_destination",
                f"The Hub refuses the request ({said or status}).",
                "It is sent again from the start." if lost else f"Look at {self.endpoint}/{self.repo_id}.",
                retry=lost,
                restart=lost,
            )
        return DeliveryFault(
            "unavailable",
            f"The Hub is not well (HTTP {status}).",
            "Nothing to do: it is tried again. See https://status.huggingface.co",
            retry=True,
            retry_after=asked_pause(headers),
        )

    def _quota(self, said: str) -> DeliveryFault:
        owner = self.repo_id.split("/", 1)[0]
        return DeliveryFault(
            "quota",
            f"There is no room for {self.repo_id} in {owner}'s storage ({said}).",
            f"Make room or upgrade at {self.endpoint}/settings/billing, or deliver to a public repository, then "
            "deliver again; the model stays in escrow meanwhile.",
            retry=False,
        )

    def too_large(self, said: str) -> DeliveryFault:
        return DeliveryFault(
            "too_large",
            f"The Hub takes files of up to 50 GB ({said}).",
            "Deliver it to a bucket (--to s3://…), or leave checkpoints out (--include weights).",
            retry=False,
        )


def no_name(repo_id: str) -> DeliveryFault:
    return DeliveryFault(
        "bad_destination",
        f"'{repo_id[:200]}' is no name of a repository.",
        "It looks like owner/name: letters, digits, and . _ - between them.",
        retry=False,
    )


def excerpt(text: str) -> str:
    """The Hub's own words, short, on one line, without anything secret."""
    clean = _TOKEN.sub("…", " ".join(text.split()))
    found = re.search(r'"error"\s*:\s*"([^"]{1,400})"', clean)
    clean = found[1] if found else clean
    return "".join(c for c in clean if c.isprintable())[:MAX_EXCERPT]


def asked_pause(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """How long the Hub wants us to wait: its ``ratelimit`` header
    (https://huggingface.co/docs/hub/rate-limits), or Retry-After in seconds or as a date."""
    limited = _RATELIMIT.search(headers.get("ratelimit", ""))
    if limited and int(limited[1]) == 0:
        return timedelta(seconds=min(int(limited[2][:9]), 86_400) + 1)
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return timedelta(seconds=min(int(value), 86_400))
    if value:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max(until - (now or datetime.now(UTC)), timedelta(0)), timedelta(days=1))
    return None


def timed_out(what: str) -> DeliveryFault:
    return DeliveryFault(
        "timeout", f"No answer in time: {what}.", "Nothing to do: it is tried again from where it stopped.", retry=True
    )


def unreachable(what: str) -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        f"The connection to the Hub failed or broke ({what}).",
        "Nothing to do: it is tried again from where it stopped.",
        retry=True,
    )


def malformed(what: str) -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        f"The Hub's answer can't be understood ({what}).",
        "Nothing to do: it is tried again.",
        retry=True,
    )
