"""In-memory credentials and their secrets; thread-safe. The contract suites run against them too."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.domain.credentials import MAX_CREDENTIALS, MAX_SECRET_BYTES, Credential
from chalicelib.domain.ports import SlotsFullError, StaleRecordError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")


class InMemoryCredentialStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[tuple[str, str], Credential] = {}

    def create(self, credential: Credential) -> None:
        with self._lock:
            if (credential.owner, credential.name) in self._records:
                raise StaleRecordError(credential.name)
            if len(self.list_of(credential.owner)) >= MAX_CREDENTIALS:
                raise SlotsFullError(credential.owner)
            self._records[credential.owner, credential.name] = credential

    def get(self, owner: str, name: str) -> Credential | None:
        return self._records.get((owner, name))

    def update(self, credential: Credential) -> None:
        with self._lock:
            stored = self.get(credential.owner, credential.name)
            if stored is None or stored.revision != credential.revision - 1:
                raise StaleRecordError(credential.name)
            self._records[credential.owner, credential.name] = credential

    def list_of(self, owner: str) -> Sequence[Credential]:
        with self._lock:
            return sorted((c for (o, _), c in self._records.items() if o == owner), key=lambda c: c.name)

    def delete(self, credential: Credential) -> None:
        with self._lock:
            stored = self.get(credential.owner, credential.name)
            if stored is not None and stored.revision != credential.revision:
                raise StaleRecordError(credential.name)
            self._records.pop((credential.owner, credential.name), None)


class InMemorySecretStore:
    """``stored`` is what lies there, as text; a test may look at it or spoil it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.stored: dict[tuple[str, str], str] = {}

    def put(self, owner: str, name: str, secret: Mapping[str, Any]) -> None:
        text = json.dumps(dict(secret), separators=(",", ":"))
        if len(text.encode()) > MAX_SECRET_BYTES:
            raise ValueError(f"a secret has {MAX_SECRET_BYTES} bytes at most")
        if not _NAME.fullmatch(name):
            raise ValueError("not the name of a secret")
        with self._lock:
            self.stored[owner, name] = text

    def get(self, owner: str, name: str) -> Mapping[str, Any] | None:
        text = self.stored.get((owner, name))
        try:
            document = json.loads(text or "null")
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def delete(self, owner: str, name: str) -> None:
        with self._lock:
            self.stored.pop((owner, name), None)

    def names(self, owner: str, within: str = "") -> Sequence[str]:
        start = f"{within}/" if within else ""
        with self._lock:
            return sorted(name for o, name in self.stored if o == owner and name.startswith(start))
