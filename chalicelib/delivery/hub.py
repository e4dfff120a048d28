"""The Hugging Face Hub as a destination."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.delivery.hub_check import check_hub
from chalicelib.delivery.hub_faults import HubWords
from chalicelib.domain.credentials import HubSecret
from chalicelib.domain.delivery_ports import Advance, Budget, CheckedTarget, Shipment
from chalicelib.domain.destinations import HubDestination

HUB_URL = "https://huggingface.co"


class HubTarget:
    """The Target port over ``huggingface_hub``.

    ``endpoint`` is the Hub's address, the operator's choice, not the user's. ``credential`` is the name that advice
    mentions, ``read_seconds`` how long an answer may be silent. Sending and confirming import the library, which ships
    with the delivery functions alone (ImportError elsewhere); a check does not. Escrow must allow reading the files,
    and writing and deleting below ``state_prefix``.
    """

    def __init__(
        self,
        destination: HubDestination,
        secret: HubSecret,
        *,
        endpoint: str = HUB_URL,
        credential: str | None = None,
        read_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._destination = destination
        self._token = secret.token.get_secret_value().strip()
        self._endpoint = endpoint.rstrip("/") or HUB_URL
        self._credential = credential or destination.credential
        self._read_seconds = read_seconds
        self._sleep = sleep

    def check(self, *, seconds: float) -> CheckedTarget:
        return check_hub(
            self._destination,
            self._token,
            self._words(self._destination.repo_id),
            seconds=seconds,
            private_hub=self._endpoint != HUB_URL,
        )

    def send(self, shipment: Shipment, state: Mapping[str, Any] | None, budget: Budget) -> Advance:
        from chalicelib.delivery.hub_send import HubRepository, send_step
        from chalicelib.delivery.hub_upload import LargeUpload

        repo = HubRepository(
            shipment,
            self._destination,
            self._token,
            self._words((state or {}).get("repo")),
            read_seconds=self._read_seconds,
        )
        return send_step(
            repo,
            state,
            budget,
            uploader=lambda notes: LargeUpload(
                shipment.escrow,
                notes,
                repo.words,
                self._token,
                self._destination.revision,
                budget,
                read_seconds=self._read_seconds,
                sleep=self._sleep,
            ),
        )

    def piece(self, shipment: Shipment, piece: Mapping[str, Any]) -> None:
        """Nothing is spread: the parts of a file share one plan, and four at once fill a function's network."""
        raise NotImplementedError("the Hub's sending never fans out")

    def confirm(self, shipment: Shipment, state: Mapping[str, Any], budget: Budget) -> Advance:
        from chalicelib.delivery.hub_confirm import confirm_step
        from chalicelib.delivery.hub_send import HubRepository

        repo = HubRepository(
            shipment,
            self._destination,
            self._token,
            self._words(state.get("repo")),
            read_seconds=self._read_seconds,
        )
        return confirm_step(repo, state, budget)

    def abandon(self, shipment: Shipment, state: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Content that no commit names is the Hub's to remove; it can't be asked for. Our notes go."""
        with contextlib.suppress(Exception):
            shipment.escrow.delete_prefix(f"{shipment.state_prefix}hub/")

    def _words(self, repo_id: object) -> HubWords:
        name = repo_id if isinstance(repo_id, str) else self._destination.repo_id
        return HubWords(self._endpoint, name, self._credential)
