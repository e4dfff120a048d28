"""A port through which something happens in the middle of a service's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Between:
    """A port that lets something happen right before or after one of its calls, once; otherwise it is the real one."""

    def __init__(self, port: Any, name: str, happens: Callable[[], object], *, after: bool = False) -> None:
        self._port, self._name, self._happens, self._after, self._done = port, name, happens, after, False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if name != self._name or self._done:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._done = True
            if not self._after:
                self._happens()
                return real(*args, **kwargs)
            result = real(*args, **kwargs)
            self._happens()
            return result

        return call


class FailingOnce:
    """Passes everything on, but one method raises the first time; with ``after`` when it has done its work, as when an
    answer is lost."""

    def __init__(self, inner: Any, method: str, error: Exception, *, after: bool = False) -> None:
        self._inner, self._method, self._error, self._after = inner, method, error, after

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._method = ""
            real = getattr(self._inner, name)

            def fail(*args: Any, **kwargs: Any) -> Any:
                if self._after:
                    real(*args, **kwargs)
                raise self._error

            return fail
        return getattr(self._inner, name)
