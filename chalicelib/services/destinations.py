"""Destinations that can be delivered to: with a credential each, found before anything is promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.delivery_wishes import Asked, asked
from chalicelib.domain.destinations import HubDestination, S3Destination, WebhookDestination
from chalicelib.domain.job_deliveries import Wish
from chalicelib.domain.ports import Ports
from chalicelib.domain.trainer import ConfigProblem
from chalicelib.errors import ValidationFailed
from chalicelib.services.credentials import find_credential


def wanted(
    ports: Ports,
    owner: str,
    *,
    request: list[HubDestination | S3Destination | WebhookDestination] | None,
    webhook_url: str | None,
    saved: Iterable[HubDestination | S3Destination | WebhookDestination] | None,
    config: Mapping[str, Any],
) -> tuple[tuple[Wish, ...], list[ConfigProblem]]:
    """What a submission wants, and what is wrong with it: also that a credential is missing. Raises Unavailable."""
    defaults = ports.owner_settings.get(owner).destinations
    found, problems = asked(
        request=request,
        webhook_url=webhook_url,
        saved=None if saved is None else list(saved),
        config=config,
        defaults=defaults,
        allow_private=ports.limits.private_destinations,
    )
    usable = []
    for one in found:
        destination, problem = with_credential(ports, owner, one)
        problems += [problem] if problem is not None else []
        usable.append(Wish(destination=destination, origin=one.origin))
    return tuple(usable), problems


def with_credential(
    ports: Ports, owner: str, one: Asked
) -> tuple[HubDestination | S3Destination | WebhookDestination, ConfigProblem | None]:
    """The destination, with the name of its credential when that was found by an access key; or why there is none.
    Without either it stays open, so that a credential may be replaced by another of its kind before delivery."""
    destination = one.destination
    try:
        credential = find_credential(
            ports,
            owner,
            CredentialKind(destination.kind),
            destination.credential,
            access_key_id=one.access_key_id if destination.credential is None else None,
        )
    except ValidationFailed as missing:
        return destination, ConfigProblem(one.field, missing.detail, missing.code)
    if one.access_key_id is not None:
        destination = destination.model_copy(update={"credential": credential.name})
    return destination, None
