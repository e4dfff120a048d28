"""Clients of AWS, or of the emulator, with bounded waiting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.config import Config

from infra.options import DeployOptions

#: What the emulator takes for its administrator (its documentation); it listens on the loopback address only.
_EMULATOR_KEY = "test"


@dataclass(frozen=True)
class Identity:
    """Who calls. ``ahead`` is how far this computer's clock is before AWS's, to a second."""

    account: str
    arn: str
    ahead: timedelta


class Aws:
    """Hands out one client per service. Building one sends nothing."""

    def __init__(self, options: DeployOptions) -> None:
        self._endpoint_url = options.endpoint_url
        if options.on_emulator:
            # Not the user's own credentials: the emulator would take them for another account.
            self._session = boto3.Session(
                aws_access_key_id=_EMULATOR_KEY, aws_secret_access_key=_EMULATOR_KEY, region_name=options.region
            )
        else:
            self._session = boto3.Session(profile_name=options.profile, region_name=options.region)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 5, "mode": "standard"},
                signature_version="s3v4" if service == "s3" else None,
            )
            if self._endpoint_url is not None:
                # A proxy of the environment can't reach this computer's loopback address.
                config = config.merge(Config(proxies={}, s3={"addressing_style": "path"}))
            self._clients[service] = self._session.client(
                service,  # type: ignore[call-overload]  # the stubs know literals only
                endpoint_url=self._endpoint_url,
                config=config,
            )
        return self._clients[service]

    def close(self) -> None:
        """Closes the clients' connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def identity(self) -> Identity:
        """Who these credentials belong to; the first call, so it is also where bad ones show."""
        answer = self.client("sts").get_caller_identity()
        sent = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        return Identity(str(answer["Account"]), str(answer["Arn"]), ahead_of(sent, datetime.now(UTC)))


def ahead_of(date: str, now: datetime) -> timedelta:
    """How far ``now`` is before the time of an HTTP date; nothing when that is none, or within the second it has."""
    try:
        ahead = now - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return timedelta()
    return ahead if abs(ahead) > timedelta(seconds=2) else timedelta()
