"""Replicate as a GPU provider, over the ``replicate`` client's raw requests.

Of the client only transport and authentication are used. Its ``predictions.create`` sends without any time-out, its
retries are not bounded in time, and its models fail on ``aborted`` predictions; see ``http`` and ``replicate_wire``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.predictions import AccountInfo, HardwareProfile, LaunchRequest, Prediction, PredictionPage
from chalicelib.domain.pricing import REPLICATE_HARDWARE
from chalicelib.domain.redaction import Masker, secret_values
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.http import TIMEOUT, BoundedTransport, fresh_connections
from chalicelib.providers.replicate_faults import bad_answer, fault_of
from chalicelib.providers.replicate_wire import (
    MAX_CURSOR,
    Malformed,
    ModelVersion,
    created_after_query,
    read_newest_version,
    read_page,
    read_prediction,
    tagged_url,
)

if TYPE_CHECKING:
    from replicate.client import Client

#: Replicate's shortest deadline.
MIN_CANCEL_AFTER = 5
#: A trainer's newest version is asked for again after this many seconds.
VERSION_LIFETIME = 600.0
#: A forged webhook makes its receiver ask for a newer secret; not more often than this many seconds.
SECRET_REFRESH_INTERVAL = 60.0
#: A create is not sent later than this many seconds after it was asked for, whatever its preparation took: the caller's
#: launch lease and the settling time behind it count on that.
SEND_WITHIN = 15.0
WEBHOOK_EVENTS = ("start", "completed")

_REFUSED_VERSION = frozenset({404, 422})
_ALREADY_OVER = frozenset({400, 409, 422})


class ReplicateProvider:
    """The Provider port over Replicate's HTTP API.

    ``client`` must be the ``replicate`` client over a BoundedTransport (see ``connect``); ``monotonic`` gives seconds
    for caches. Every call is one request, but create (up to two) and cancel (up to two), and ends within about a
    minute. Raises ProviderFault only; its messages never hold the token or a launch's credentials. ``sent`` is True
    only for a create or cancel whose fate is unknown: a question that got no answer changed nothing.
    """

    def __init__(self, client: Client, *, token: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._token = Masker([token])
        self._monotonic = monotonic
        self._versions: dict[str, tuple[float, ModelVersion]] = {}
        self._secret: str | None = None
        self._refreshed_at: float | None = None

    @classmethod
    def connect(cls, access: ProviderAccess, *, transport: httpx.BaseTransport | None = None) -> Self:
        """A provider that talks to ``access.base_url``; sends nothing yet. ``transport`` replaces the network in tests.

        Raises ValueError when token or URL is empty: the client would take either from the environment instead.
        """
        if not access.token.strip() or not access.base_url.strip():
            raise ValueError("Replicate needs a token and a base URL")
        # Costs 120 ms; most of the API's requests never ask the provider.
        from replicate.client import Client

        client = Client(
            api_token=access.token.strip(),
            base_url=access.base_url.rstrip("/"),
            timeout=TIMEOUT,
            transport=BoundedTransport(transport or fresh_connections()),
        )
        return cls(client, token=access.token.strip())

    def __repr__(self) -> str:
        return "ReplicateProvider()"

    @property
    def name(self) -> str:
        return "replicate"

    @property
    def profiles(self) -> Mapping[str, HardwareProfile]:
        return REPLICATE_HARDWARE

    def validate(self) -> AccountInfo:
        raw = self._ask("/v1/account")
        username = raw.get("username") if isinstance(raw, dict) else None
        if not isinstance(username, str) or not username:
            raise bad_answer("the account has no username", effect=False)
        name = raw.get("name")
        extra = {key: raw[key] for key in ("type", "github_url", "avatar_url") if isinstance(raw.get(key), str)}
        return AccountInfo(username=username, name=name if isinstance(name, str) else None, extra=extra)

    def create(self, request: LaunchRequest) -> Prediction:
        model = request.profile.model
        asked_at = self._monotonic()
        version = self._version(model)
        undeclared = sorted(set(request.inputs) - version.inputs)
        if undeclared:
            raise ProviderFault(
                f"The trainer {model} takes no input named {', '.join(undeclared)}.",
                kind=FaultKind.USER,
                code="unsupported_input",
                sent=False,
            )
        if self._monotonic() - asked_at > SEND_WITHIN:
            raise ProviderFault(
                "Replicate answers too slowly to start a training now.",
                kind=FaultKind.PROVIDER,
                code="provider_slow",
                sent=False,
            )
        body = {
            "version": f"{model}:{version.id}",
            "input": dict(request.inputs),
            "webhook": tagged_url(request.webhook_url, request.tag),
            "webhook_events_filter": list(WEBHOOK_EVENTS),
        }
        try:
            raw = self._call(
                "POST",
                "/v1/predictions",
                effect=True,
                body=body,
                headers={"Cancel-After": f"{max(MIN_CANCEL_AFTER, int(request.max_run_seconds))}s"},
                secrets=secret_values(request.inputs),
            )
        except ProviderFault as fault:
            if fault.status in _REFUSED_VERSION:
                self._versions.pop(model, None)  # it may have been replaced or withdrawn
            raise
        return _read(raw, effect=True)

    def get(self, prediction_id: str) -> Prediction | None:
        try:
            raw = self._ask(_path(prediction_id))
        except ProviderFault as fault:
            if fault.status == 404:
                return None
            raise
        return _read(raw, effect=False, prediction_id=prediction_id)

    def cancel(self, prediction_id: str) -> Prediction | None:
        try:
            raw = self._call("POST", f"{_path(prediction_id)}/cancel", effect=True)
        except ProviderFault as fault:
            if fault.status == 404:
                return None
            if fault.status in _ALREADY_OVER:
                known = self.get(prediction_id)
                if known is None or known.status.is_over:
                    return known
            raise
        return _read(raw, effect=True, prediction_id=prediction_id)

    def list(self, *, created_after: datetime | None = None, cursor: str | None = None) -> PredictionPage:
        query = cursor or (created_after_query(created_after) if created_after else "")
        if len(query) > MAX_CURSOR:
            raise ValueError("not a cursor of this provider")
        raw = self._ask(f"/v1/predictions?{query}" if query else "/v1/predictions")
        try:
            return read_page(raw, created_after=created_after)
        except Malformed as error:
            raise bad_answer(str(error), effect=False) from None

    def webhook_secret(self, *, refresh: bool = False) -> str:
        now = self._monotonic()
        if self._secret is not None:
            due = self._refreshed_at is None or now - self._refreshed_at >= SECRET_REFRESH_INTERVAL
            if not refresh or not due:
                return self._secret
            self._refreshed_at = now
        raw = self._ask("/v1/webhooks/default/secret")
        secret = raw.get("key") if isinstance(raw, dict) else None
        if not isinstance(secret, str) or not secret:
            raise bad_answer("there is no webhook secret", effect=False)
        self._secret = secret
        return secret

    def _version(self, model: str) -> ModelVersion:
        """The newest version of the trainer, cached."""
        now = self._monotonic()
        cached = self._versions.get(model)
        if cached is not None and now - cached[0] < VERSION_LIFETIME:
            return cached[1]
        try:
            version = read_newest_version(self._ask(f"/v1/models/{quote(model)}/versions"))
        except Malformed as error:
            raise bad_answer(f"{error}: {model}", effect=False) from None
        self._versions[model] = (now, version)
        return version

    def _ask(self, path: str) -> Any:
        return self._call("GET", path, effect=False)

    def _call(
        self,
        method: str,
        path: str,
        *,
        effect: bool,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> Any:
        """One request; returns its JSON. ``effect`` says whether it changes something at the provider."""
        content, sent_headers = None, dict(headers or {})
        if body is not None:
            try:
                content = json.dumps(body, allow_nan=False).encode("utf-8")
            except (TypeError, ValueError):
                raise ProviderFault(
                    "The inputs can't be written as JSON.", kind=FaultKind.USER, code="invalid_input", sent=False
                ) from None
            sent_headers["Content-Type"] = "application/json"
        try:
            response = self._client._request(method, path, content=content, headers=sent_headers)
        except Exception as error:  # noqa: BLE001
            # Whatever went wrong, the caller must learn whether money may have been spent. The cause is cut off:
            # httpx's errors hold the request, and with it the token and the launch's credentials.
            raise fault_of(error, effect=effect, masks=(self._token, Masker(secrets))) from None
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise bad_answer("it is no JSON", effect=effect) from None


def _path(prediction_id: str) -> str:
    return f"/v1/predictions/{quote(prediction_id, safe='')}"


def _read(raw: Any, *, effect: bool, prediction_id: str | None = None) -> Prediction:
    try:
        prediction = read_prediction(raw)
    except Malformed as error:
        raise bad_answer(str(error), effect=effect) from None
    if not prediction.raw_status:
        raise bad_answer("a prediction has no status", effect=effect)
    if prediction_id is not None and prediction.id != prediction_id:
        raise bad_answer("it is about another prediction", effect=effect)
    return prediction
