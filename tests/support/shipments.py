"""A verified model in escrow, and what the workflow does with a Target: steps, tries, a new process for each."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.delivery_ports import Budget, DeliveryFault, Shipment, ShippedFile, Target
from chalicelib.domain.escrow import FileKind
from chalicelib.domain.objects import ObjectStore
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
STATE_PREFIX = "alice/job1/deliveries/d1/"
FACTS: Mapping[str, Any] = {
    "run_name": "Cats",
    "base_model": "black-forest-labs/FLUX.1-dev",
    "model_type": "lora",
    "model_family": "flux",
    "rank": 16,
    "steps": 1000,
    "resolution": 1024,
    "learning_rate": 0.0001,
    "trigger": "ohwx cat",
    "license": "apache-2.0",
    "datasets": [{"id": "cats", "version": "v1", "files": 24, "bytes": 1000}],
}


def weights(size: int, seed: int = 1) -> bytes:
    """A small safetensors file of about ``size`` bytes."""
    count = max(size // 2, 1)
    header = json.dumps({"lora_A": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(2 * count)


def model(size: int = 300_000) -> dict[str, tuple[FileKind, bytes]]:
    return {
        "pytorch_lora_weights.safetensors": (FileKind.WEIGHTS, weights(size)),
        "samples/step_1000.png": (FileKind.SAMPLE, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40),
        "samples/step_500.png": (FileKind.SAMPLE, b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 20),
        "manifest.json": (FileKind.OTHER, b'{"files": []}\n'),
    }


def shipment_of(
    files: Mapping[str, tuple[FileKind, bytes]], escrow: ObjectStore | None = None, **changes: Any
) -> Shipment:
    store = escrow if escrow is not None else InMemoryObjectStore("outputs")
    shipped = []
    for path, (kind, data) in files.items():
        key = f"alice/job1/artifacts/{path}"
        store.put(key, data)
        shipped.append(ShippedFile(key, path, len(data), hashlib.sha256(data).hexdigest(), kind))
    given: dict[str, Any] = {
        "delivery_id": "d1",
        "job_id": "job1",
        "owner": "alice",
        "run_name": "Cats",
        "created_at": NOW,
        "files": tuple(shipped),
        "facts": FACTS,
        "escrow": store,
        "state_prefix": STATE_PREFIX,
    }
    return Shipment(**given | changes)


def content_of(shipment: Shipment) -> dict[str, bytes]:
    found = {file.path: shipment.escrow.get(file.source_key) for file in shipment.files}
    return {path: data for path, data in found.items() if data is not None}


def plenty() -> Budget:
    clock = FakeClock(NOW)
    return Budget(NOW + timedelta(minutes=8), clock.now)


def scarce(looks: int) -> Callable[[], Budget]:
    """Budgets that are up after being asked for the time so often."""

    def make() -> Budget:
        left = [looks]

        def now() -> datetime:
            left[0] -= 1
            return NOW if left[0] > 0 else NOW + timedelta(hours=1)

        return Budget(NOW + timedelta(minutes=8), now)

    return make


@dataclass
class Outcome:
    """``problem`` is what ended it; ``faults`` all that happened on the way. ``result`` is of both parts together."""

    steps: int = 0
    verified: bool = False
    problem: DeliveryFault | None = None
    faults: list[DeliveryFault] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    progress: list[int] = field(default_factory=list)


def deliver(
    connect: Callable[[], Target],
    shipment: Shipment,
    *,
    budget: Callable[[], Budget] = plenty,
    steps: int = 60,
    before_confirm: Callable[[], None] = lambda: None,
) -> Outcome:
    """As the workflow does it: every step connects anew and knows no more than the JSON of the last one. Ends verified,
    or with a fault that no repeating helps."""
    state: dict[str, Any] | None = None
    sent, outcome = False, Outcome()
    for _ in range(steps):
        outcome.steps += 1
        target = connect()
        try:
            if sent:
                advance = target.confirm(shipment, state or {}, budget())
            else:
                advance = target.send(shipment, state, budget())
                for piece in advance.fan:
                    connect().piece(shipment, json.loads(json.dumps(piece)))
        except DeliveryFault as fault:
            outcome.faults.append(fault)
            if not fault.retry:
                outcome.problem = fault
                return outcome
            if fault.restart:
                state, sent = None, False
            continue
        state = json.loads(json.dumps(advance.state))
        outcome.progress.append(advance.bytes_done)
        outcome.result |= json.loads(json.dumps(advance.result))
        if advance.done and sent:
            outcome.verified = True
            return outcome
        if advance.done:
            sent = True
            before_confirm()
    raise AssertionError(f"not over after {steps} steps: {outcome.faults[-3:]}")
