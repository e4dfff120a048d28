"""Shipments in memory, and what drives a target as the workflow does: step by step, state through JSON, pieces by
workers, and again after a fault."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.deliveries import state_prefix
from chalicelib.domain.delivery_ports import Advance, Budget, DeliveryFault, Shipment, ShippedFile, Target
from chalicelib.domain.escrow import FileKind
from chalicelib.domain.objects import ObjectStore

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OWNER, JOB, DELIVERY = "ann", "01job", "d-01job-001"
MAX_STEPS = 200


def contents(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from place to place."""
    block = b"".join(hashlib.sha256(f"{seed}/{n}".encode()).digest() for n in range(64))
    return (block * (size // len(block) + 1))[:size] if size <= len(block) else _numbered(block, size)


def _numbered(block: bytes, size: int) -> bytes:
    whole = bytearray(block * (size // len(block) + 1))
    for number in range(0, len(whole), len(block)):
        whole[number : number + 8] = (number + 1).to_bytes(8, "big")
    return bytes(whole[:size])


def shipment_of(
    escrow: ObjectStore, files: Mapping[str, bytes], *, run_name: str = "cats", job_id: str = JOB
) -> Shipment:
    """Puts ``files`` (path -> contents) into escrow, and a manifest behind them."""
    shipped = [_shipped(escrow, path, data, job_id) for path, data in files.items()]
    manifest = json.dumps({"files": [{"path": f.path, "sha256": f.sha256} for f in shipped]}).encode()
    shipped.append(_shipped(escrow, "manifest.json", manifest, job_id))
    return Shipment(
        delivery_id=DELIVERY,
        job_id=job_id,
        owner=OWNER,
        run_name=run_name,
        created_at=NOW,
        files=tuple(shipped),
        facts={},
        escrow=escrow,
        state_prefix=state_prefix(OWNER, job_id, DELIVERY),
    )


def _shipped(escrow: ObjectStore, path: str, data: bytes, job_id: str) -> ShippedFile:
    key = f"{OWNER}/{job_id}/artifacts/{path}"
    escrow.put(key, data)
    kind = FileKind.WEIGHTS if path.endswith(".safetensors") else FileKind.OTHER
    return ShippedFile(key, path, len(data), hashlib.sha256(data).hexdigest(), kind)


def budget(seconds: float = 480) -> Budget:
    return Budget(NOW + timedelta(seconds=seconds), lambda: NOW)


@dataclass
class Driver:
    """``target`` is made anew for each call, as in another process. ``interrupted`` are exceptions after which the
    workflow goes on from what was saved last. ``between`` is called once when everything has been sent."""

    target: Callable[[], Target]
    shipment: Shipment
    interrupted: tuple[type[BaseException], ...] = ()
    seconds: float = 480
    faults: list[DeliveryFault] = field(default_factory=list)
    steps: int = 0
    most_pieces: int = 0
    between: Callable[[], None] = lambda: None
    _of_pieces: list[DeliveryFault] = field(default_factory=list)

    def deliver(self) -> Mapping[str, Any]:
        """Sends and confirms; returns the result. Raises DeliveryFault that no retry helps, AssertionError when it
        does not end."""
        state: Mapping[str, Any] | None = None
        sent = False
        for _ in range(MAX_STEPS):
            self.steps += 1
            try:
                advance = self._step(state, sent)
            except DeliveryFault as fault:
                self.faults.append(fault)
                if not fault.retry:
                    raise
                if fault.restart:
                    raise AssertionError("the notes would be lost, and with them what was begun there") from fault
                continue
            except self.interrupted:
                continue
            state = json.loads(json.dumps(dict(advance.state)))
            self._pieces(advance.fan)
            if advance.done and sent:
                assert advance.files_done == len(self.shipment.files)
                assert advance.bytes_done == self.shipment.bytes
                return advance.result
            if advance.done:
                sent = True
                self.between()
        raise AssertionError(f"no end after {self.steps} steps")

    def send(self) -> Mapping[str, Any]:
        """Sends without confirming; returns the state."""
        state: Mapping[str, Any] | None = None
        for _ in range(MAX_STEPS):
            advance = self._step(state, False)
            state = json.loads(json.dumps(dict(advance.state)))
            self._pieces(advance.fan)
            if advance.done:
                return state
        raise AssertionError("no end")

    def _step(self, state: Mapping[str, Any] | None, sent: bool) -> Advance:
        if self._of_pieces:
            raise self._of_pieces.pop()
        target = self.target()
        limit = budget(self.seconds)
        return target.confirm(self.shipment, state or {}, limit) if sent else target.send(self.shipment, state, limit)

    def _pieces(self, fan: Iterable[Mapping[str, Any]]) -> None:
        pieces = list(fan)
        self.most_pieces = max(self.most_pieces, len(pieces))
        for piece in pieces:
            try:
                self.target().piece(self.shipment, json.loads(json.dumps(dict(piece))))
            except DeliveryFault as fault:
                self._of_pieces = [fault]
            except self.interrupted:
                continue
