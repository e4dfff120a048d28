"""A large object as a stream that survives lost connections."""

from __future__ import annotations

import io
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from chalicelib.aws.faults import answering, code_of

#: Reconnections in a row without a single byte in between.
MAX_FRUITLESS = 4
BUFFER = 1024 * 1024

LOST = (HTTPClientError, IncompleteReadError)


class ObjectChanged(OSError):
    """The object was replaced or deleted while it was being read."""


class ObjectStream(io.RawIOBase):
    """The bytes of one S3 object, from the first answer's body on.

    A model of several GB takes minutes to read; when the connection breaks, reading goes on with a ranged GET that
    insists on the same ETag. Raises ObjectChanged, Unavailable.
    """

    def __init__(self, client: Any, bucket: str, key: str, first: dict[str, Any]) -> None:
        super().__init__()
        self._client = client
        self._where = {"Bucket": bucket, "Key": key, "IfMatch": first["ETag"]}
        self._size = int(first["ContentLength"])
        self._body: Any = first["Body"]
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        fruitless = 0
        while self._at < self._size:
            if self._body is None:
                self._body = self._reopen()
            try:
                chunk = self._body.read(min(len(view), self._size - self._at))
            except LOST:
                chunk = b""
            if chunk:
                view[: len(chunk)] = chunk
                self._at += len(chunk)
                return len(chunk)
            self._drop()
            fruitless += 1
            if fruitless > MAX_FRUITLESS:
                raise OSError(f"the connection broke {fruitless} times in a row at byte {self._at} of {self._size}")
        return 0

    def close(self) -> None:
        self._drop()
        super().close()

    def _reopen(self) -> Any:
        with answering("The object store"):
            try:
                return self._client.get_object(**self._where, Range=f"bytes={self._at}-")["Body"]
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412", "NoSuchKey", "404", "InvalidRange"}:
                    raise ObjectChanged(f"{self._where['Key']} changed while it was being read") from error
                raise

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
