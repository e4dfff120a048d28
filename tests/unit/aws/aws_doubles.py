"""Answers of AWS clients, made by hand."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError


def client_error(code: str, status: int = 400, operation: str = "Op") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


def timed_out() -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url="http://s3")


def refused() -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="http://s3")


class Script:
    """A client whose methods answer one after the other from a list; an exception among them is raised."""

    def __init__(self, **answers: Iterable[Any]) -> None:
        self._answers = {name: list(of) for name, of in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def __call__(self) -> Script:
        return self

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._answers:
            raise AttributeError(name)

        def call(**options: Any) -> Any:
            self.calls.append((name, options))
            answer = self._answers[name].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


class Body(io.BytesIO):
    """A response body that breaks off after ``good`` bytes."""

    def __init__(self, data: bytes, good: int | None = None, error: Exception | None = None) -> None:
        super().__init__(data if good is None else data[:good])
        self._error = error or timed_out()
        self._breaks = good is not None

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            if self._breaks:
                raise self._error
            return super().read()
        found = super().read(size)
        if not found and self._breaks and size:
            raise self._error
        return found


def answer(data: bytes, body: Body | None = None, etag: str = '"e"') -> dict[str, Any]:
    return {"Body": body or Body(data), "ContentLength": len(data), "ETag": etag}
