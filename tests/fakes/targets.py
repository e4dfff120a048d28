"""The TargetLookup and Target ports in memory: places that a test looks into, and faults that it scripts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.credentials import Secret
from chalicelib.domain.delivery_ports import (
    Advance,
    AnyDestination,
    Budget,
    CheckedTarget,
    DeliveryFault,
    Shipment,
)
from chalicelib.domain.destinations import label


@dataclass
class FakeTargets:
    """Every destination is a place: path -> bytes, by its label. ``calls`` names what was asked, in order:
    ``connect``, ``check``, ``send``, ``piece``, ``confirm``, ``abandon``.

    ``faults`` are raised by the next calls of a name, one each; None lets a call pass. ``late_faults`` are raised after
    a call has done its work, as when an answer is lost. ``per_step`` files are sent in one step, ``fan`` sends them as
    pieces, ``tamper`` changes what lies there before it is confirmed. ``meanwhile`` runs in the middle of every call.
    """

    places: dict[str, dict[str, bytes]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    secrets: list[Secret | None] = field(default_factory=list)
    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    late_faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    per_step: int = 1
    fan: bool = False
    facts: tuple[str, ...] = ("can be written to",)
    result: dict[str, Any] = field(default_factory=dict)
    tamper: Callable[[dict[str, bytes]], None] | None = None
    meanwhile: Callable[[str], None] | None = None
    abandoned: list[str] = field(default_factory=list)

    def __call__(self, destination: AnyDestination, secret: Secret | None) -> FakeTarget:
        name = label(destination)
        self.secrets.append(secret)
        self.note("connect", name)
        return FakeTarget(self, name)

    def note(self, call: str, name: str) -> None:
        self.calls.append((call, name))
        if self.meanwhile is not None:
            self.meanwhile(call)
        _raise_next(self.faults.get(call))

    def count(self, call: str) -> int:
        return sum(1 for name, _ in self.calls if name == call)

    def late(self, call: str) -> None:
        _raise_next(self.late_faults.get(call))


@dataclass
class FakeTarget:
    world: FakeTargets
    name: str

    @property
    def place(self) -> dict[str, bytes]:
        return self.world.places.setdefault(self.name, {})

    def check(self, *, seconds: float) -> CheckedTarget:
        assert seconds > 0
        self.world.note("check", self.name)
        self.world.late("check")
        return CheckedTarget(facts=self.world.facts)

    def send(self, shipment: Shipment, state: Mapping[str, Any] | None, budget: Budget) -> Advance:
        self.world.note("send", self.name)
        advance = self._fan(shipment, state) if self.world.fan else self._send(shipment, state)
        self.world.late("send")
        return advance

    def piece(self, shipment: Shipment, piece: Mapping[str, Any]) -> None:
        self.world.note("piece", self.name)
        index = int(piece["file"])
        self._put(shipment, index)
        shipment.escrow.put(f"{shipment.state_prefix}pieces/{index}.json", b"{}")
        self.world.late("piece")

    def confirm(self, shipment: Shipment, state: Mapping[str, Any], budget: Budget) -> Advance:
        self.world.note("confirm", self.name)
        if self.world.tamper is not None:
            self.world.tamper(self.place)
        for file in shipment.files:
            data = self.place.get(file.path, b"")
            if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
                raise DeliveryFault(
                    "corrupt_at_target", f"{file.path} differs", "It is sent again.", retry=True, restart=True
                )
        self.world.late("confirm")
        return Advance(
            state=state,
            done=True,
            files_done=len(shipment.files),
            bytes_done=shipment.bytes,
            result={"url": f"https://target.test/{self.name}", **self.world.result},
        )

    def abandon(self, shipment: Shipment, state: Mapping[str, Any] | None) -> None:
        self.world.note("abandon", self.name)
        self.world.abandoned.append(shipment.delivery_id)

    def _send(self, shipment: Shipment, state: Mapping[str, Any] | None) -> Advance:
        at = int((state or {}).get("at", 0))
        end = min(at + self.world.per_step, len(shipment.files))
        for index in range(at, end):
            self._put(shipment, index)
        return Advance(
            state=json.loads(json.dumps({"at": end})),
            done=end == len(shipment.files),
            files_done=end,
            bytes_done=sum(f.size for f in shipment.files[:end]),
        )

    def _fan(self, shipment: Shipment, state: Mapping[str, Any] | None) -> Advance:
        there = [
            i
            for i in range(len(shipment.files))
            if shipment.escrow.head(f"{shipment.state_prefix}pieces/{i}.json") is not None
        ]
        missing = [i for i in range(len(shipment.files)) if i not in there]
        return Advance(
            state={"rounds": int((state or {}).get("rounds", 0)) + 1},
            done=not missing,
            files_done=len(there),
            bytes_done=sum(shipment.files[i].size for i in there),
            fan=[{"file": i} for i in missing],
        )

    def _put(self, shipment: Shipment, index: int) -> None:
        file = shipment.files[index]
        data = shipment.escrow.get(file.source_key)
        if data is None:
            raise DeliveryFault("source_missing", f"{file.path} is gone", "Train again.", retry=False)
        self.place[file.path] = data


def _raise_next(script: list[Exception | None] | None) -> None:
    if script:
        fault = script.pop(0)
        if fault is not None:
            raise fault
