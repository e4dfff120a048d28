"""Replicate's JSON, read without trusting it: predictions, pages, versions, and the tags by which we find our own.

Field names and their meaning come from https://api.replicate.com/openapi.json. The ``replicate`` client's models are
not used: an ``aborted`` prediction makes them raise, and they drop ``deadline`` and ``data_removed``
(https://github.com/replicate/replicate-python/pull/449).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from chalicelib.domain.predictions import Prediction, PredictionPage, PredictionStatus
from chalicelib.domain.redaction import Masker, redact, redact_log, secret_values, spellings

#: Characters kept of an error text; a Python traceback fits.
MAX_ERROR = 8_000
MAX_CURSOR = 4_000
#: What the trainer's Cog declares, for a version whose own description is missing. SimpleTuner 4.10.1, ``predict.py``.
COG_INPUTS = frozenset(
    {
        "config_json",
        "dataloader_json",
        "hf_token",
        "hub_model_id",
        "images",
        "lycoris_config",
        "max_train_steps",
        "return_logs",
        "s3_access_key",
        "s3_base_path",
        "s3_bucket",
        "s3_endpoint_url",
        "s3_public_base_url",
        "s3_region",
        "s3_secret_key",
    }
)

_TAG = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ARTIFACTS = re.compile(r"(?:^|/)([A-Za-z0-9_-]{1,64})/artifacts/?$")
_VERSION_ID = re.compile(r"[A-Za-z0-9]{1,128}")


class Malformed(Exception):
    """The answer is not what the API describes. The message names what is wrong and repeats nothing of it."""


@dataclass(frozen=True)
class ModelVersion:
    """A version of a trainer, and the inputs it declares."""

    id: str
    inputs: frozenset[str]


def read_prediction(raw: Any) -> Prediction:
    """One prediction. Raises Malformed without an id; anything else that is missing or odd becomes None or UNKNOWN."""
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str) or not raw["id"]:
        raise Malformed("a prediction has no id")
    given = raw.get("input")
    inputs: dict[str, Any] = given if isinstance(given, dict) else {}
    masker = Masker(spellings(secret_values(inputs)))
    raw_status = _text(raw.get("status")) or ""
    error = raw.get("error")
    if error is not None and not isinstance(error, str):
        error = json.dumps(error)
    webhook = _text(raw.get("webhook"))
    logs, status = _text(raw.get("logs")), _status(raw_status)
    if logs is not None:
        logs = redact_log(masker.mask(logs), ended=status.is_over)
    return Prediction(
        id=raw["id"],
        status=status,
        raw_status=raw_status,
        created_at=_time(raw.get("created_at")),
        started_at=_time(raw.get("started_at")),
        completed_at=_time(raw.get("completed_at")),
        run_seconds=_run_seconds(raw.get("metrics")),
        logs=None if raw.get("data_removed") is True else logs,
        error=redact(masker.mask(_text(error) or ""))[:MAX_ERROR] or None,
        output=_masked(raw.get("output"), masker),
        data_removed=raw.get("data_removed") is True,
        deadline=_time(raw.get("deadline")),
        webhook_url=webhook,
        tags=frozenset(_tags(webhook, inputs)),
        buckets=frozenset(_buckets(inputs)),
    )


def read_page(raw: Any, *, created_after: datetime | None) -> PredictionPage:
    """One page of a list, without what is older than ``created_after`` (the provider's filter is not relied on).

    An entry without an id is counted, not returned. One without a status is counted and returned as UNKNOWN: it may be
    the one a launch is looking for, and treating it as absent would start a second training.

    Raises Malformed when the page itself, or the link to the next one, can't be read: an incomplete list must not pass
    for a complete one.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("results"), list):
        raise Malformed("a list of predictions has no results")
    predictions, unreadable, older = [], 0, 0
    for entry in raw["results"]:
        try:
            prediction = read_prediction(entry)
        except Malformed:
            unreadable += 1
            continue
        unreadable += not prediction.raw_status
        if created_after is not None and prediction.created_at is not None and prediction.created_at < created_after:
            older += 1
            continue
        predictions.append(prediction)
    cursor = _cursor(raw.get("next"))
    # Newest first: a page of older ones only is the end of what was asked for.
    if older and older == len(raw["results"]):
        cursor = None
    return PredictionPage(predictions=tuple(predictions), cursor=cursor, unreadable=unreadable)


def read_newest_version(raw: Any) -> ModelVersion:
    """The newest of a model's versions (the API sorts them so). Raises Malformed when there is none."""
    results = raw.get("results") if isinstance(raw, dict) else None
    if not isinstance(results, list) or not results or not isinstance(results[0], dict):
        raise Malformed("the model has no version")
    newest = results[0]
    version_id = newest.get("id")
    if not isinstance(version_id, str) or not _VERSION_ID.fullmatch(version_id):
        raise Malformed("the model's version has no id")
    return ModelVersion(id=version_id, inputs=_declared(newest.get("openapi_schema")))


def _declared(schema: Any) -> frozenset[str]:
    node = schema
    for name in ("components", "schemas", "Input", "properties"):
        node = node.get(name) if isinstance(node, dict) else None
    return frozenset(node) if isinstance(node, dict) and node else COG_INPUTS


def tagged_url(url: str, tag: str) -> str:
    """``url`` with ``job=<tag>`` in its query, so that the prediction can be found by it."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "job"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("job", tag)])))


def created_after_query(moment: datetime) -> str:
    """The list's query for predictions created at or after an aware ``moment``."""
    return urlencode({"created_after": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")})


def _cursor(link: Any) -> str | None:
    """The query of the next page's URL. Its origin is dropped: the token goes to no address an answer names."""
    if link is None or link == "":
        return None
    try:
        query = urlsplit(link).query if isinstance(link, str) else ""
    except ValueError:
        query = ""
    if not query or len(query) > MAX_CURSOR or not query.isascii() or not query.isprintable():
        raise Malformed("the link to the next page is unusable")
    return query


def _tags(webhook: str | None, inputs: Mapping[str, Any]) -> Iterator[str]:
    """Job ids: in the webhook URL, in the prefix the trainer publishes to, in its output directory.

    The API describes no ``webhook`` field in its answers, so the inputs must do alone too.
    """
    if webhook is not None:
        try:
            candidates = parse_qs(urlsplit(webhook).query, max_num_fields=50).get("job", [])
        except ValueError:
            candidates = []
        yield from (tag for tag in candidates if _TAG.fullmatch(tag))
    config = _config(inputs.get("config_json"))
    paths = [target.get("base_path") for target in _targets(config)]
    for path in [inputs.get("s3_base_path"), *paths]:
        if isinstance(path, str) and (found := _ARTIFACTS.search(path)):
            yield found[1]
    output_dir = config.get("output_dir")
    if isinstance(output_dir, str) and _TAG.fullmatch(tag := output_dir.removeprefix("output/")) and tag != output_dir:
        yield tag


def _buckets(inputs: Mapping[str, Any]) -> Iterator[str]:
    names = [target.get("bucket") for target in _targets(_config(inputs.get("config_json")))]
    yield from (name for name in [inputs.get("s3_bucket"), *names] if isinstance(name, str) and name)


def _targets(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where a training publishes."""
    publishing = config.get("publishing_config")
    return [t for t in (publishing if isinstance(publishing, list) else [publishing]) if isinstance(t, dict)]


def _config(text: Any) -> dict[str, Any]:
    """The trainer's config without dashes, or nothing."""
    if not isinstance(text, str):
        return {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(key).lstrip("-"): value for key, value in parsed.items()} if isinstance(parsed, dict) else {}


def _status(word: str) -> PredictionStatus:
    try:
        return PredictionStatus(word)
    except ValueError:
        return PredictionStatus.UNKNOWN


def _text(value: Any) -> str | None:
    """A text that can be stored: JSON may hold half a surrogate pair, which no database takes."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        # Its API writes UTC; a time without a zone is read so.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _run_seconds(metrics: Any) -> float | None:
    """Billed run time. Not ``total_time``, which includes the queue."""
    value = metrics.get("predict_time") if isinstance(metrics, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _masked(output: Any, masker: Masker) -> Any:
    return masker.mask(output) if isinstance(output, str) else output
