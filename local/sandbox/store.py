"""What survives a restart: one JSON file and one log file per prediction, the webhook secret, a sign of life."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from local.sandbox.clock import iso, parse_iso
from local.sandbox.predictions import Prediction

MAX_LOG_BYTES = 4 * 1024 * 1024


class Store:
    """Files below ``root``, readable by this user only: a waiting prediction still holds the caller's secrets."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for folder in (root, self._predictions, self._logs, self._work):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def _predictions(self) -> Path:
        return self._root / "predictions"

    @property
    def _logs(self) -> Path:
        return self._root / "logs"

    @property
    def _work(self) -> Path:
        return self._root / "work"

    def save(self, prediction: Prediction) -> None:
        """Atomic: a reader, also after a kill, sees the old record or the new one."""
        self._write(self._predictions / f"{prediction.id}.json", json.dumps(prediction.to_record(), indent=1))

    def load(self) -> tuple[list[Prediction], list[str]]:
        """All predictions in order of creation, and the names of files that hold none."""
        found, broken = [], []
        for path in self._predictions.glob("*.json"):
            try:
                found.append(Prediction.from_record(json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, KeyError, TypeError):
                broken.append(path.name)
        return sorted(found, key=lambda p: p.ordinal), broken

    def log_path(self, prediction_id: str) -> Path:
        """Where the trainer's output goes; made with this user's rights only."""
        path = self._logs / f"{prediction_id}.log"
        path.touch(mode=0o600)
        return path

    def log_size(self, prediction_id: str) -> int:
        try:
            return (self._logs / f"{prediction_id}.log").stat().st_size
        except FileNotFoundError:
            return 0

    def read_log(self, prediction_id: str) -> str:
        """The log, at most its last MAX_LOG_BYTES; empty when there is none."""
        try:
            with (self._logs / f"{prediction_id}.log").open("rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                handle.seek(max(0, size - MAX_LOG_BYTES))
                return handle.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def delete_log(self, prediction_id: str) -> None:
        (self._logs / f"{prediction_id}.log").unlink(missing_ok=True)

    def work_dir(self, prediction_id: str) -> Path:
        """An empty directory for the trainer."""
        path = self._work / prediction_id
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def clean_work(self, prediction_id: str | None = None) -> None:
        """Removes one working directory, or all of them."""
        targets = [self._work / prediction_id] if prediction_id else list(self._work.iterdir())
        for path in targets:
            shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Forgets every prediction; the webhook secret stays."""
        for folder in (self._predictions, self._logs):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
        self.clean_work()

    def heartbeat(self, now: datetime) -> None:
        """Leaves ``now`` for whoever starts after us. Raises OSError."""
        self._write(self._root / "heartbeat", iso(now))

    def last_heartbeat(self) -> datetime | None:
        try:
            return parse_iso((self._root / "heartbeat").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def webhook_secret(self) -> str:
        """``whsec_`` and 24 random bytes in base64, made once."""
        path = self._root / "webhook-secret"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
            self._write(path, secret)
            return secret

    @staticmethod
    def _write(path: Path, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
