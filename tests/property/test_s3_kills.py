"""A delivery to a bucket is killed between any two calls, to the bucket or to escrow, before or after they take effect:
in the end all is there, verified, nothing is left behind, and what others have there is untouched."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.delivery.s3 import S3Target
from chalicelib.delivery.s3_pieces import Sizes
from chalicelib.domain.destinations import S3Destination
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.foreign_bucket import FakeForeignBucket
from tests.support.s3_shipments import Driver, contents, shipment_of

PART = 4000
SIZES = Sizes(part=PART, most=PART, whole=2 * PART, piece=2)
FILES = {"a.safetensors": contents(4 * PART + 5, 1), "b.safetensors": contents(PART + 9, 2), "c.png": contents(900, 3)}


class Killed(BaseException):
    """The process is gone; nothing catches this."""


class Kills:
    """Counts calls; at the ``at``-th the process dies, before or after it takes effect."""

    def __init__(self, at: Iterable[tuple[int, bool]]) -> None:
        self._at = dict(at)
        self._seen = 0
        self.happened = 0

    def before(self, *_: Any) -> None:
        self._seen += 1
        self._die(False)

    def after(self, *_: Any) -> None:
        self._die(True)

    def _die(self, late: bool) -> None:
        if self._at.get(self._seen) is late:
            del self._at[self._seen]
            self.happened += 1
            raise Killed


class MortalStore(InMemoryObjectStore):
    """Escrow whose callers die."""

    kills: Kills | None = None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        with self._dying():
            return super().get(key, start=start, length=length)

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        with self._dying():
            super().put(key, data, content_type=content_type)

    def delete(self, keys: Iterable[str]) -> int:
        with self._dying():
            return super().delete(keys)

    def _dying(self) -> Any:
        return _Call(self.kills)


class _Call:
    def __init__(self, kills: Kills | None) -> None:
        self._kills = kills

    def __enter__(self) -> None:
        if self._kills is not None:
            self._kills.before()

    def __exit__(self, kind: object, *_: object) -> None:
        if self._kills is not None and kind is None:
            self._kills.after()


def delivered(checksums: bool, at: Iterable[tuple[int, bool]]) -> Kills:
    bucket = FakeForeignBucket(checksums=checksums)
    theirs, _ = bucket.start_upload("models/cats/a.safetensors", metadata={}, content_type="x")
    escrow = MortalStore()
    shipment = shipment_of(escrow, FILES)
    kills = Kills(at)
    bucket.before, bucket.after, escrow.kills = kills.before, kills.after, kills
    numbers = itertools.count(1)

    def target() -> S3Target:
        return S3Target(
            S3Destination(bucket="bucket", prefix="models"),
            bucket,
            lambda _s: bucket,
            token=lambda: f"{next(numbers):06d}",
            monotonic=lambda: 0.0,
            sizes=SIZES,
        )

    drive = Driver(target, shipment, interrupted=(Killed,), seconds=0.001)
    drive.deliver()

    escrow.kills = None
    assert {key.removeprefix("models/cats/"): held.data for key, held in bucket.objects.items()} == {
        **FILES,
        "manifest.json": escrow.get(shipment.files[-1].source_key),
    }
    assert [upload_id for upload_id in bucket.under_way if upload_id != theirs] == []
    assert theirs in bucket.under_way
    assert drive.faults == []
    return kills


def test_a_kill_at_any_one_call() -> None:
    """Each call once, before and after."""
    for late in (False, True):
        for number in itertools.count(1):
            if delivered(False, [(number, late)]).happened == 0:
                break
        assert number > 40, "the delivery makes more calls than that"


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(1, 150), st.booleans()), max_size=12, unique_by=lambda k: k[0]))
def test_many_kills(checksums: bool, at: list[tuple[int, bool]]) -> None:
    delivered(checksums, at)
