"""Where a submission wants its model, besides escrow: from the request, the saved config, SimpleTuner's own options
and the owner's defaults. Pure.

Who says something is heard before who was not asked: the request's ``destinations``, else the saved config's. What the
config's own options ask for (``push_to_hub``, ``publishing_config``) and the request's ``webhook_url`` come on top. The
owner's defaults count only when none of these says anything. ``destinations: []`` in the request means none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from chalicelib.domain.addresses import AddressRefused, check_url
from chalicelib.domain.deliveries import Origin
from chalicelib.domain.destinations import (
    DEFAULT_PARTS,
    MAX_DESTINATIONS,
    HubDestination,
    Part,
    S3Destination,
    WebhookDestination,
)
from chalicelib.domain.job_deliveries import place_of
from chalicelib.domain.publishing import destinations_of
from chalicelib.domain.trainer import ConfigProblem

_REPO = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


@dataclass(frozen=True)
class Asked:
    """``field`` is where it was said, for messages; ``access_key_id`` by which its credential is found."""

    destination: HubDestination | S3Destination | WebhookDestination
    origin: Origin
    field: str
    access_key_id: str | None = None


def asked(
    *,
    request: Sequence[HubDestination | S3Destination | WebhookDestination] | None,
    webhook_url: str | None,
    saved: Sequence[HubDestination | S3Destination | WebhookDestination] | None,
    config: Mapping[str, Any],
    defaults: Sequence[HubDestination | S3Destination | WebhookDestination],
    allow_private: bool,
) -> tuple[list[Asked], list[ConfigProblem]]:
    """The destinations, each place once, and what is wrong with them. ``config`` has no dashes."""
    if request is not None and not request:
        return [], []
    problems: list[ConfigProblem] = []
    found: list[Asked] = []
    if request is not None:
        found += _listed(request, Origin.SUBMIT, "destinations")
    elif saved is not None:
        found += _listed(saved, Origin.CONFIG, "destinations")
    found += _from_options(config, problems)
    if webhook_url:
        found += _webhook(webhook_url, problems)
    if not found and not problems and saved is None:
        found += _listed(defaults, Origin.DEFAULT, "destinations")
    once = list({place_of(a.destination): a for a in reversed(found)}.values())[::-1]
    for one in once:
        problems += destination_problems(one.destination, one.field, allow_private=allow_private)
    if len(once) > MAX_DESTINATIONS:
        problems.append(
            ConfigProblem("destinations", f"are {len(once)}; {MAX_DESTINATIONS} is the limit", "too_many_destinations")
        )
    return once, problems


def destination_problems(
    destination: HubDestination | S3Destination | WebhookDestination, field: str, *, allow_private: bool
) -> list[ConfigProblem]:
    """What is wrong with a destination whoever its owner is. Names are not resolved here."""
    if isinstance(destination, HubDestination):
        if not _REPO.fullmatch(destination.repo_id):
            text = "is no name of a repository; write it like acme/cats, or cats for one of your own"
            return [ConfigProblem(f"{field}.repo_id", text, "bad_destination")]
        return []
    if isinstance(destination, S3Destination):
        if not _BUCKET.fullmatch(destination.bucket):
            return [ConfigProblem(f"{field}.bucket", "is no name of a bucket", "bad_destination")]
        if ".." in destination.prefix.split("/"):
            return [ConfigProblem(f"{field}.prefix", "must not hold '..'", "bad_destination")]
        return _url_problems(destination.endpoint_url, f"{field}.endpoint_url", allow_private)
    return _url_problems(destination.url, f"{field}.url", allow_private)


def _url_problems(url: str | None, field: str, allow_private: bool) -> list[ConfigProblem]:
    if url is None:
        return []
    try:
        check_url(url, allow_private=allow_private)
    except AddressRefused as refused:
        return [ConfigProblem(field, f"{refused.message} {refused.advice}", "address_refused")]
    return []


def _listed(
    destinations: Iterable[HubDestination | S3Destination | WebhookDestination], origin: Origin, field: str
) -> list[Asked]:
    return [Asked(destination, origin, f"{field}.{number}") for number, destination in enumerate(destinations)]


def _from_options(config: Mapping[str, Any], problems: list[ConfigProblem]) -> list[Asked]:
    found = []
    if is_on(config.get("push_to_hub")):
        hub = _hub(config, problems)
        found += [hub] if hub is not None else []
    published = destinations_of(config.get("publishing_config"))
    problems += [p for p in published.problems if p.code != "secret_in_config"]
    found += [
        Asked(destination, Origin.CONFIG, "config.publishing_config", key)
        for destination, key in zip(published.destinations, published.access_key_ids, strict=True)
    ]
    if is_on(config.get("push_checkpoints_to_hub")):
        found = [_with_checkpoints(a) for a in found]
    return found


def _hub(config: Mapping[str, Any], problems: list[ConfigProblem]) -> Asked | None:
    name = config.get("hub_model_id") or config.get("tracker_project_name")
    if not isinstance(name, str) or not name.strip():
        text = "is missing: push_to_hub needs the name of the repository, like acme/cats"
        problems.append(ConfigProblem("config.hub_model_id", text, "missing"))
        return None
    try:
        destination = HubDestination(
            repo_id=name.strip(), private=is_on(config.get("model_card_private", True)), include=DEFAULT_PARTS
        )
    except ValidationError:
        problems.append(ConfigProblem("config.hub_model_id", "is no name of a repository", "bad_destination"))
        return None
    return Asked(destination, Origin.CONFIG, "config.hub_model_id")


def _with_checkpoints(one: Asked) -> Asked:
    destination = one.destination
    if not isinstance(destination, HubDestination):
        return one
    parts = (*destination.include, Part.CHECKPOINTS)
    return replace(one, destination=destination.model_copy(update={"include": parts}))


def _webhook(url: str, problems: list[ConfigProblem]) -> list[Asked]:
    try:
        return [Asked(WebhookDestination(url=url), Origin.SUBMIT, "webhook_url")]
    except ValidationError:
        problems.append(
            ConfigProblem("webhook_url", "is no address; write it like https://example.com/hook", "invalid")
        )
        return []


def is_on(value: Any) -> bool:
    """As SimpleTuner reads a switch: true, 1, "true", "yes", "on"."""
    return value is True or value == 1 or str(value).strip().lower() in {"true", "1", "yes", "on"}
