"""Saves the emulator's state every few seconds, so a kill or a crash loses seconds and not the day.

ministack 1.5.33 (https://github.com/ministackorg/ministack) saves at a clean stop only, and forgets the sessions of
temporary credentials at every stop. A snapshot is taken on the event loop, between two requests, so it is consistent.
It is encoded and written in a thread; files are replaced whole, all together.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from local.emulator.gateway import Asgi, Receive, Scope, Send
from local.emulator.pins import require_source

INTERVAL_SECONDS = 3.0
#: A snapshot stops the world for as long as it takes to copy: at most one part in twenty of the time.
REST_PER_COPY = 20.0
#: Left to the clean stop: they change with every call and nobody misses their last seconds.
_SKIPPED = frozenset({"cloudwatch_logs", "cloudwatch"})
#: Every call of a Lambda makes a log stream of its own; beyond this the oldest are dropped.
LOG_STREAMS_KEPT = 300

logger = logging.getLogger("local.emulator.checkpoint")


def patch_sessions() -> None:
    """Keeps the sessions of temporary credentials over a restart: a training that runs publishes with them."""
    sts: Any = import_module("ministack.services.sts")
    require_source(sts.get_state, "return {}")
    require_source(sts.load_persisted_state, "pass")
    require_source(sts.register_session, "_sessions[access_key] = session")
    sts.get_state = lambda: {"sessions": copy.deepcopy(sts._sessions)}
    sts.load_persisted_state = lambda data: sts._sessions.update(data.get("sessions", {}))


class Checkpointer:
    """Wraps the emulator's ASGI application; ``run`` goes beside it on the same loop.

    ``snapshot`` gives the state of each service by file name, ``encode`` the text of one of them.
    """

    def __init__(
        self,
        snapshot: Callable[[], dict[str, Any]],
        encode: Callable[[str, Any], str],
        folder: Path,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._snapshot = snapshot
        self._encode = encode
        self._folder = folder
        self._interval = interval_seconds
        self._restored = asyncio.Event()
        self._stopped = asyncio.Event()
        self._idle = asyncio.Lock()
        self._written: dict[str, str] = {}

    def wrap(self, app: Asgi) -> Asgi:
        """``app``, watched: the first save waits for its start (state is restored by then), the last precedes its stop,
        when it saves everything by itself."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan":
                await app(scope, receive, send)
                return

            async def watched_receive() -> Any:
                message = await receive()
                if message["type"] == "lifespan.shutdown":
                    self._stopped.set()
                    async with self._idle:
                        pass
                return message

            async def watched_send(message: Any) -> None:
                if message["type"] == "lifespan.startup.complete":
                    self._restored.set()
                await send(message)

            await app(scope, watched_receive, watched_send)

        return wrapped

    async def run(self) -> None:
        """Saves until the application stops. A failed save is logged and tried again: the emulator goes on."""
        await self._restored.wait()
        pause = self._interval
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause)
            if self._stopped.is_set():
                return
            async with self._idle:
                try:
                    pause = max(self._interval, REST_PER_COPY * await self.save())
                except (OSError, RuntimeError, TypeError, ValueError):
                    # RuntimeError: a thread of the emulator changed a table while it was copied.
                    logger.warning("A checkpoint failed; the next one comes in %.0f s", pause, exc_info=True)

    async def save(self) -> float:
        """Writes what changed; returns the seconds of the copy. Raises OSError, RuntimeError, TypeError, ValueError."""
        started = time.perf_counter()
        states = self._snapshot()
        copied = time.perf_counter() - started
        await asyncio.to_thread(self._write, states)
        return copied

    def _write(self, states: dict[str, Any]) -> None:
        ready: list[tuple[str, str, Path]] = []
        for name, state in states.items():
            text = self._encode(name, state)
            digest = hashlib.sha256(text.encode()).hexdigest()
            if self._written.get(name) == digest:
                continue
            temporary = self._folder / f"{name}.json.checkpoint"
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            ready.append((name, digest, temporary))
        for name, digest, temporary in ready:
            temporary.replace(self._folder / f"{name}.json")
            self._written[name] = digest


def ministack_checkpointer(folder: Path) -> Checkpointer:
    """A checkpointer of the running emulator. Raises PatchError when its source is not the one we know."""
    app: Any = import_module("ministack.app")
    persistence: Any = import_module("ministack.core.persistence")
    functions: Any = import_module("ministack.services.lambda_svc")
    logs: Any = import_module("ministack.services.cloudwatch_logs")
    require_source(app._build_persistence_save_dict, "save_dict[key] = mod.get_state")
    require_source(persistence.save_state, '"__ministack_format__": _state_format_version(service), "payload": data')
    require_source(functions.get_state, "for scoped_key, func in _functions._data.items()")
    seen: dict[str, object] = {}

    def snapshot() -> dict[str, Any]:
        _trim_logs(logs)
        states: dict[str, Any] = {}
        for name, get_state in app._build_persistence_save_dict().items():
            if name in _SKIPPED:
                continue
            if name == "lambda":
                # Hashes every code package: only when a function changed.
                mark = _functions_mark(functions)
                if seen.get(name) == mark:
                    continue
                seen[name] = mark
            state = get_state()
            if state is not None:
                states[name] = state
        return states

    def encode(name: str, state: Any) -> str:
        wrapped = {"__ministack_format__": persistence._state_format_version(name), "payload": state}
        return json.dumps(wrapped, default=persistence._json_default)

    return Checkpointer(snapshot, encode, folder)


def _functions_mark(functions: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (key, config.get("RevisionId"), config.get("CodeSha256"), config.get("LastModified"), config.get("State"))
        for key, config in ((key, func.get("config", {})) for key, func in list(functions._functions._data.items()))
    )


def _trim_logs(logs: Any) -> None:
    for group in list(logs._log_groups._data.values()):
        streams = group.get("streams", {})
        for name in list(streams)[: max(0, len(streams) - LOG_STREAMS_KEPT)]:
            streams.pop(name, None)
