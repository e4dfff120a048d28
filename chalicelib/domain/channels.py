"""Channels: where an owner is told of events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from chalicelib.domain.notification_events import ALL, CHANNEL_DISABLED

MAX_CHANNELS = 20
#: How long a secret goes on signing after it was rotated.
OVERLAP = timedelta(hours=24)
#: A channel at which nothing has arrived for so long is disabled: the last of a message's tries is made within the day.
DISABLED_AFTER = timedelta(hours=23)


class ChannelType(StrEnum):
    WEBHOOK = "webhook"
    EMAIL = "email"


class ChannelState(StrEnum):
    """What is shown. ``failing``: the last try did not succeed, and the next is coming."""

    ACTIVE = "active"
    FAILING = "failing"
    PENDING_CONFIRMATION = "pending_confirmation"
    DISABLED = "disabled"


class Channel(BaseModel):
    """``events`` are types, or ALL. ``disabled_reason`` is set when we disabled it, not its owner.

    Of a webhook, ``secret_id`` names its signing secrets in the SecretStore, ``previous_until`` is when the one before
    stops signing. Of e-mail, ``subscription`` is the Mailer's name of it, ``confirmed`` what it said last.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    channel_id: str
    owner: str
    channel_type: ChannelType
    name: str
    webhook_url: str | None = None
    email: str | None = None
    events: tuple[str, ...] = (ALL,)
    is_enabled: bool = True
    disabled_reason: str | None = None
    created_at: datetime
    updated_at: datetime
    secret_id: str = ""
    secret_version: int = 1
    rotated_at: datetime | None = None
    previous_until: datetime | None = None
    subscription: str | None = None
    confirmed: bool = False
    failing_since: datetime | None = None
    revision: int = 1

    @property
    def secret_name(self) -> str:
        """The name of its secrets in the SecretStore. Credentials' names are in lower case."""
        return f"{secret_folder(self.channel_id)}/{self.secret_id}"

    @property
    def state(self) -> ChannelState:
        if not self.is_enabled:
            return ChannelState.DISABLED
        if self.channel_type is ChannelType.EMAIL and not self.confirmed:
            return ChannelState.PENDING_CONFIRMATION
        return ChannelState.FAILING if self.failing_since is not None else ChannelState.ACTIVE

    @property
    def recipient(self) -> str:
        """For lists and logs: of a URL no more than its host, since paths hold secrets of chat services."""
        if self.channel_type is ChannelType.EMAIL:
            return self.email or ""
        return urlsplit(self.webhook_url or "").hostname or ""

    def wants(self, event_type: str) -> bool:
        """Whether it is told of events of this type, when it is ready."""
        told_anyway = event_type == CHANNEL_DISABLED and self.channel_type is ChannelType.EMAIL
        return told_anyway or ALL in self.events or event_type in self.events

    @property
    def is_ready(self) -> bool:
        return self.state in {ChannelState.ACTIVE, ChannelState.FAILING}

    def changed(self, now: datetime, **changes: Any) -> Self:
        return self.model_copy(update={**changes, "updated_at": now, "revision": self.revision + 1})


def secret_folder(channel_id: str) -> str:
    return f"Channel.{channel_id}"


class SigningSecrets(BaseModel):
    """What the SecretStore holds of a channel. ``previous`` signs beside ``current`` until ``previous_until``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    current: SecretStr
    previous: SecretStr | None = None
    previous_until: datetime | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> SigningSecrets | None:
        """None when there is none, or it can't be read."""
        if not document or not isinstance(document.get("current"), str):
            return None
        return cls.model_validate(document)

    def document(self) -> dict[str, Any]:
        previous = self.previous.get_secret_value() if self.previous else None
        until = self.previous_until.isoformat() if self.previous_until else None
        return {"current": self.current.get_secret_value(), "previous": previous, "previous_until": until}

    def signing(self, now: datetime) -> list[str]:
        """The newest first."""
        found = [self.current.get_secret_value()]
        if self.previous is not None and self.previous_until is not None and now < self.previous_until:
            found.append(self.previous.get_secret_value())
        return found

    def rotated(self, new: str, now: datetime) -> SigningSecrets:
        return SigningSecrets(current=SecretStr(new), previous=self.current, previous_until=now + OVERLAP)
