"""Checkpoints of the emulator's state, without the emulator: what is written, and when not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from local.emulator.checkpoint import Checkpointer


def test_a_checkpoint_writes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    state = {"a": 1, "b": 1}
    checkpointer = Checkpointer(lambda: dict(state), lambda _, value: json.dumps(value), tmp_path)
    asyncio.run(checkpointer.save())
    (tmp_path / "b.json").unlink()
    state["a"] = 2
    asyncio.run(checkpointer.save())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "2"}


def test_a_failed_encoding_leaves_the_last_checkpoint_alone(tmp_path: Path) -> None:
    state: dict[str, Any] = {"a": 1, "b": 1}
    checkpointer = Checkpointer(lambda: dict(state), lambda _, value: json.dumps(value), tmp_path)
    asyncio.run(checkpointer.save())
    state.update(a=2, b=object())
    with pytest.raises(TypeError):
        asyncio.run(checkpointer.save())
    assert (tmp_path / "a.json").read_text() == "1"


def test_nothing_is_saved_before_the_state_is_restored_or_after_the_stop(tmp_path: Path) -> None:
    order: list[str] = []
    twice = asyncio.Event()

    def snapshot() -> dict[str, Any]:
        order.append("snapshot")
        if order.count("snapshot") == 2:
            twice.set()
        return {}

    async def emulator(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        order.append("restored")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        order.append("stopped")

    async def scene() -> None:
        checkpointer = Checkpointer(snapshot, lambda _, value: json.dumps(value), tmp_path, interval_seconds=0.001)
        messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        saving = asyncio.create_task(checkpointer.run())

        async def send(_: Any) -> None:
            return None

        app = asyncio.create_task(checkpointer.wrap(emulator)({"type": "lifespan"}, messages.get, send))
        await messages.put({"type": "lifespan.startup"})
        await twice.wait()
        await messages.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(asyncio.gather(app, saving), 10)

    asyncio.run(asyncio.wait_for(scene(), 20))
    assert order[0] == "restored"
    assert order[-1] == "stopped"
    assert order.count("restored") == 1
