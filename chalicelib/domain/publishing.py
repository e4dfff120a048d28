"""SimpleTuner's ``publishing_config`` as destinations of ours. Pure.

What it may say was read in SimpleTuner 4.10.1: ``publishing/manager.py`` (names of providers) and
``publishing/providers/s3.py`` (options). Its keys never reach a destination: the access key id only finds the stored
credential, and a secret in a config is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from chalicelib.domain.destinations import MAX_DESTINATIONS, S3Destination
from chalicelib.domain.trainer import ConfigProblem

FIELD = "config.publishing_config"
#: This service's own storage, which SimpleTuner's server writes into a config by itself. Escrow is that already.
_OWN_STORAGE = "/api/cloud/storage"
_S3_NAMES = frozenset({"s3", "s3-compatible"})
_B2_NAMES = frozenset({"backblaze_b2", "b2"})
_REGION = re.compile(r"[a-z0-9-]{1,60}")
_ACCESS_KEY_ID = re.compile(r"[\x21-\x7e]{1,256}")
_SECRETS = ("secret_key", "aws_secret_access_key", "session_token", "aws_session_token")
_ADD = "stcloud credentials add NAME --kind s3 --access-key-id ID"


class Publishing(NamedTuple):
    """``access_key_ids[i]`` belongs to ``destinations[i]``: by which id its credential is found when the destination
    names none; None when the config does not say. ``problems`` have dotted fields, messages with advice, and the codes
    ``publishing_invalid``, ``publishing_unsupported``, ``secret_in_config``."""

    destinations: tuple[S3Destination, ...] = ()
    access_key_ids: tuple[str | None, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()


class _Wrong(Exception):
    def __init__(self, field: str, message: str, code: str = "publishing_invalid") -> None:
        super().__init__(message)
        self.problem = ConfigProblem(field, message, code)


def destinations_of(publishing_config: Any) -> Publishing:
    """The S3 destinations that a config asks for: one entry, a list of them, or either as JSON text. Nothing, null and
    empty texts ask for none. Never raises; an entry with a problem gives no destination.

    Entries that publish to this service's own storage are left out: every model is in escrow. An entry may name a
    stored credential (``credential``), which is ours and unknown to SimpleTuner.
    """
    found: dict[S3Destination, str | None] = {}
    problems: list[ConfigProblem] = []
    try:
        entries = list(_entries(publishing_config))
    except _Wrong as wrong:
        return Publishing(problems=(wrong.problem,))
    for field, entry in entries:
        problems += [
            ConfigProblem(
                f"{field}.{name}",
                f"a secret does not belong into a config, which is stored and shown. Store it once: {_ADD}",
                "secret_in_config",
            )
            for name in _SECRETS
            if isinstance(entry, Mapping) and entry.get(name) and not _is_variable(entry[name])
        ]
        try:
            destination = _destination(field, entry)
        except _Wrong as wrong:
            problems.append(wrong.problem)
            continue
        if destination is not None and destination not in found:
            found[destination] = _access_key_id(entry)
    if len(found) > MAX_DESTINATIONS:
        problems.append(
            ConfigProblem(
                FIELD, f"has {len(found)} destinations; a job has {MAX_DESTINATIONS} at most", "publishing_invalid"
            )
        )
    kept = tuple(found)[:MAX_DESTINATIONS]
    return Publishing(kept, tuple(found[destination] for destination in kept), tuple(problems))


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, str):
        value = _parsed(value.strip())
    if value is None:
        return
    if isinstance(value, Mapping):
        if value:
            yield FIELD, value
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield f"{FIELD}.{number}", entry
    else:
        raise _Wrong(FIELD, "must be an entry or a list of entries, each with its provider and bucket")


def _parsed(text: str) -> Any:
    if not text:
        return None
    if text[0] not in "[{n":
        raise _Wrong(FIELD, "names a file of your computer, which is not here; put its content into the config")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _Wrong(FIELD, "is no valid JSON; write it as a list of entries") from None


def _destination(field: str, entry: Any) -> S3Destination | None:
    if not isinstance(entry, Mapping):
        raise _Wrong(field, 'must be an entry such as {"provider": "s3", "bucket": …}')
    provider = str(entry.get("provider") or entry.get("type") or "").strip().lower()
    if not provider:
        raise _Wrong(f"{field}.provider", "is missing; this service delivers to s3 and backblaze_b2")
    if provider not in _S3_NAMES | _B2_NAMES:
        raise _Wrong(
            f"{field}.provider",
            f"{provider[:40]!r} is not served here; use s3, backblaze_b2, push_to_hub, or fetch the model with "
            "stcloud jobs pull",
            "publishing_unsupported",
        )
    region = _text(field, entry, "region", "region_name")
    endpoint_url = _endpoint(field, entry, provider, region)
    if endpoint_url is not None and urlsplit(endpoint_url).path.rstrip("/").endswith(_OWN_STORAGE):
        return None
    bucket = _text(field, entry, "bucket")
    if bucket is None:
        raise _Wrong(f"{field}.bucket", "is missing")
    try:
        return S3Destination(
            bucket=bucket,
            prefix=(_text(field, entry, "base_path", "prefix") or "").strip("/ "),
            endpoint_url=endpoint_url,
            region=region,
            path_style=_path_style(entry),
            credential=_text(field, entry, "credential"),
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "bucket"
        raise _Wrong(f"{field}.{name}", first["msg"]) from None


def _endpoint(field: str, entry: Mapping[Any, Any], provider: str, region: str | None) -> str | None:
    endpoint = _text(field, entry, "endpoint_url")
    if endpoint is None:
        if provider in _S3_NAMES:
            return None
        if region is None or not _REGION.fullmatch(region):
            raise _Wrong(
                f"{field}.endpoint_url", "is missing; B2 shows it with the bucket: https://s3.REGION.backblazeb2.com"
            )
        return f"https://s3.{region}.backblazeb2.com"
    if "://" not in endpoint:
        endpoint = f"{'http' if entry.get('use_ssl') is False else 'https'}://{endpoint}"
    try:
        parts = urlsplit(endpoint)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise _Wrong(f"{field}.endpoint_url", "is no address of a store; write it like https://s3.example.com")
    if parts.username is not None or parts.password is not None:
        raise _Wrong(f"{field}.endpoint_url", f"holds a password. Store it once: {_ADD}", "secret_in_config")
    return endpoint.rstrip("/")


def _path_style(entry: Mapping[Any, Any]) -> bool | None:
    for name in ("path_style", "force_path_style"):
        if isinstance(entry.get(name), bool):
            return bool(entry[name])
    style = str(entry.get("addressing_style") or "").lower()
    return {"path": True, "virtual": False}.get(style)


def _access_key_id(entry: Mapping[Any, Any]) -> str | None:
    for name in ("access_key", "aws_access_key_id", "access_key_id"):
        value = entry.get(name)
        if isinstance(value, str) and value and not _is_variable(value):
            return value if _ACCESS_KEY_ID.fullmatch(value) else None
    return None


def _text(field: str, entry: Mapping[Any, Any], *names: str) -> str | None:
    """The first of these options that says something."""
    for name in names:
        value = entry.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise _Wrong(f"{field}.{name}", "must be a text")
        if _is_variable(value):
            raise _Wrong(f"{field}.{name}", "names a variable of the trainer's machine; write the value itself")
        return value.strip()
    return None


def _is_variable(value: Any) -> bool:
    return isinstance(value, str) and "{env:" in value
