"""Delivery to a bucket, against one in memory: what is sent, what is left alone, what is caught."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from chalicelib.delivery.s3 import S3Target
from chalicelib.delivery.s3_pieces import Sizes, part_bytes_of
from chalicelib.domain.delivery_ports import DeliveryFault, Shipment
from chalicelib.domain.destinations import S3Destination
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.foreign_bucket import FakeForeignBucket, Held, fault
from tests.support.s3_shipments import Driver, budget, contents, shipment_of

MIB = 1024 * 1024
SIZES = Sizes(part=MIB, most=3 * MIB, whole=2 * MIB, piece=2)
DESTINATION = S3Destination(bucket="models", prefix="loras")
FILES = {
    "pytorch_lora_weights.safetensors": contents(3 * MIB + 17, 1),
    "samples/one.png": contents(5000, 2),
    "empty.txt": b"",
    "second.safetensors": contents(MIB + 1, 3),
    "exactly.safetensors": contents(MIB, 4),
}


_numbers = itertools.count(1)


def target_of(bucket: FakeForeignBucket) -> S3Target:
    return S3Target(
        DESTINATION,
        bucket,
        lambda _seconds: bucket,
        token=lambda: f"t{next(_numbers):06d}",
        monotonic=lambda: 0.0,
        sizes=SIZES,
    )


def shipped(files: dict[str, bytes] | None = None, *, job_id: str = "01job") -> Shipment:
    return shipment_of(InMemoryObjectStore(), FILES if files is None else files, job_id=job_id)


def driver(bucket: FakeForeignBucket, shipment: Shipment) -> Driver:
    return Driver(lambda: target_of(bucket), shipment)


@pytest.mark.parametrize("checksums", [False, True])
def test_everything_arrives_below_the_prefix_and_the_manifest_last(checksums: bool) -> None:
    bucket = FakeForeignBucket(checksums=checksums)
    shipment = shipped()

    result = driver(bucket, shipment).deliver()

    assert {key: held.data for key, held in bucket.objects.items()} == {
        f"loras/cats/{path}": data
        for path, data in [*FILES.items(), ("manifest.json", bucket.objects["loras/cats/manifest.json"].data)]
    }
    writes = [key for call, key in bucket.calls if call in {"put", "finish_upload"}]
    assert writes[-1] == "loras/cats/manifest.json"
    assert bucket.sent == shipment.bytes, "each byte is sent once"
    assert bucket.under_way == {}
    assert result["uri"] == "s3://models/loras/cats/"
    how = "by_checksum_of_the_store" if checksums else "by_reading_back"
    assert result["confirmed"][how] == len(shipment.files)
    assert (bucket.count("read") > 0) is not checksums


def test_sending_again_sends_nothing() -> None:
    bucket = FakeForeignBucket()
    shipment = shipped()
    driver(bucket, shipment).deliver()
    sent, before = bucket.sent, dict(bucket.objects)

    driver(bucket, shipment).deliver()
    driver(bucket, shipped()).deliver()

    assert (bucket.sent, bucket.objects) == (sent, before)


def test_what_this_job_put_there_before_is_replaced() -> None:
    bucket = FakeForeignBucket()
    driver(bucket, shipped({"a.safetensors": contents(2 * MIB, 8), "b.png": b"old"})).deliver()

    driver(bucket, shipped({"a.safetensors": contents(2 * MIB, 9), "b.png": b"new"})).deliver()

    assert bucket.objects["loras/cats/a.safetensors"].data == contents(2 * MIB, 9)
    assert bucket.objects["loras/cats/b.png"].data == b"new"


@pytest.mark.parametrize("path", ["samples/one.png", "pytorch_lora_weights.safetensors", "manifest.json"])
@pytest.mark.parametrize("metadata", [{}, {"stcloud-job": "another"}])
def test_what_belongs_to_others_is_never_overwritten(path: str, metadata: dict[str, str]) -> None:
    bucket = FakeForeignBucket()
    bucket.objects[f"loras/cats/{path}"] = Held(b"theirs", metadata)

    with pytest.raises(DeliveryFault) as caught:
        driver(bucket, shipped()).deliver()

    assert (caught.value.code, caught.value.retry) == ("conflict", False)
    assert f"loras/cats/{path}" in caught.value.message
    assert "prefix" in caught.value.advice
    assert bucket.objects[f"loras/cats/{path}"].data == b"theirs"


def test_what_others_put_there_meanwhile_is_not_overwritten() -> None:
    bucket = FakeForeignBucket()

    def meanwhile(call: str, key: str) -> None:
        if call == "put_part":
            bucket.objects[key] = Held(b"theirs")

    bucket.after = meanwhile
    with pytest.raises(DeliveryFault) as caught:
        driver(bucket, shipped({"a.safetensors": contents(2 * MIB)})).deliver()

    assert caught.value.code == "conflict"
    assert bucket.objects["loras/cats/a.safetensors"].data == b"theirs"


def truncated(data: bytes) -> bytes:
    return data[:-1]


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def swapped(data: bytes) -> bytes:
    return data[len(data) // 2 :] + data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("tamper", [truncated, zeroed, swapped, flipped])
@pytest.mark.parametrize("path", ["pytorch_lora_weights.safetensors", "second.safetensors", "samples/one.png"])
@pytest.mark.parametrize("checksums", [False, True])
def test_a_copy_that_was_changed_is_caught_and_mended(
    tamper: Callable[[bytes], bytes], path: str, checksums: bool
) -> None:
    """The store itself lost something: the metadata is still ours."""
    bucket = FakeForeignBucket(checksums=checksums)
    key = f"loras/cats/{path}"

    def meanwhile() -> None:
        held = bucket.objects[key]
        bucket.objects[key] = Held(tamper(held.data), held.metadata)

    drive = driver(bucket, shipped())
    drive.between = meanwhile
    drive.deliver()

    assert [(f.code, f.retry) for f in drive.faults] == [("corrupt_at_target", True)]
    assert key in drive.faults[0].message
    assert bucket.objects[key].data == FILES[path]
    assert bucket.under_way == {}


def test_a_copy_that_somebody_replaced_is_caught_and_left_alone() -> None:
    bucket = FakeForeignBucket()
    key = "loras/cats/samples/one.png"
    drive = driver(bucket, shipped())
    drive.between = lambda: bucket.objects.update({key: Held(zeroed(FILES["samples/one.png"]))})

    with pytest.raises(DeliveryFault) as caught:
        drive.deliver()

    assert [f.code for f in drive.faults] == ["corrupt_at_target", "conflict"]
    assert caught.value.code == "conflict"
    assert bucket.objects[key].data == zeroed(FILES["samples/one.png"])


def test_a_missing_copy_is_caught() -> None:
    bucket = FakeForeignBucket()
    shipment = shipped()
    state = driver(bucket, shipment).send()
    del bucket.objects["loras/cats/empty.txt"]

    with pytest.raises(DeliveryFault) as caught:
        target_of(bucket).confirm(shipment, state, budget())

    assert caught.value.code == "corrupt_at_target"


def test_a_store_that_always_loses_bytes_is_given_up() -> None:
    bucket = FakeForeignBucket()

    def lose(call: str, key: str) -> None:
        if call in {"put", "finish_upload"} and key.endswith("one.png"):
            held = bucket.objects[key]
            bucket.objects[key] = Held(zeroed(held.data), held.metadata)

    bucket.after = lose
    with pytest.raises(DeliveryFault) as caught:
        driver(bucket, shipped()).deliver()

    assert (caught.value.code, caught.value.retry) == ("corrupt_at_target", False)
    assert "escrow" in caught.value.advice


def test_a_checksum_that_differs_is_no_verdict() -> None:
    """Some stores name a checksum of something else; reading decides."""
    bucket = FakeForeignBucket(checksums=True)
    shipment = shipped()
    driver(bucket, shipment).send()
    for held in bucket.objects.values():
        held.sha256, held.composite = "0" * 64, None

    result = driver(bucket, shipment).deliver()

    assert result["confirmed"]["by_reading_back"] == len(shipment.files)


def test_escrow_that_has_changed_is_not_sent() -> None:
    bucket = FakeForeignBucket()
    shipment = shipped()
    assert isinstance(shipment.escrow, InMemoryObjectStore)
    shipment.escrow.put(shipment.files[1].source_key, zeroed(FILES["samples/one.png"]))

    with pytest.raises(DeliveryFault) as caught:
        driver(bucket, shipment).deliver()

    assert (caught.value.code, caught.value.retry) == ("source_missing", False)


@pytest.mark.parametrize("how", [None, truncated])
def test_a_large_file_that_escrow_lost(how: Callable[[bytes], bytes] | None) -> None:
    bucket = FakeForeignBucket()
    shipment = shipped()
    source = shipment.files[0].source_key
    if how is None:
        shipment.escrow.delete([source])
    else:
        shipment.escrow.put(source, how(FILES["pytorch_lora_weights.safetensors"]))

    with pytest.raises(DeliveryFault) as caught:
        driver(bucket, shipment).deliver()

    assert (caught.value.code, caught.value.retry) == ("source_missing", False)


def test_a_large_file_that_changed_in_escrow_is_caught_at_the_end() -> None:
    """Its parts can't be compared with the SHA-256 of the whole while they are sent, but the whole can afterwards."""
    bucket = FakeForeignBucket()
    shipment = shipped({"second.safetensors": FILES["second.safetensors"]})
    shipment.escrow.put(shipment.files[0].source_key, zeroed(FILES["second.safetensors"]))

    drive = driver(bucket, shipment)
    with pytest.raises(DeliveryFault) as caught:
        drive.deliver()

    assert caught.value.code == "corrupt_at_target"


def test_an_upload_that_the_store_threw_away_is_begun_again() -> None:
    bucket = FakeForeignBucket()
    shipment = shipped()
    state: dict[str, object] | None = None
    advance = target_of(bucket).send(shipment, state, budget())
    assert advance.fan
    bucket.under_way.clear()

    with pytest.raises(DeliveryFault) as caught:
        target_of(bucket).piece(shipment, advance.fan[0])
    driver(bucket, shipment).deliver()

    assert (caught.value.code, caught.value.retry) == ("unavailable", True)
    assert bucket.objects["loras/cats/second.safetensors"].data == FILES["second.safetensors"]
    assert bucket.under_way == {}


def test_uploads_of_others_are_left_alone() -> None:
    bucket = FakeForeignBucket()
    theirs, _ = bucket.start_upload("loras/cats/second.safetensors", metadata={}, content_type="x")

    driver(bucket, shipped()).deliver()

    assert list(bucket.under_way) == [theirs]


def test_abandoning_throws_away_what_was_begun() -> None:
    bucket = FakeForeignBucket()
    theirs, _ = bucket.start_upload("loras/cats/second.safetensors", metadata={}, content_type="x")
    shipment = shipped()
    advance = target_of(bucket).send(shipment, None, budget())
    target_of(bucket).piece(shipment, advance.fan[0])

    target_of(bucket).abandon(shipment, advance.state)
    target_of(bucket).abandon(shipment, None)

    assert list(bucket.under_way) == [theirs]


def test_pieces_are_done_by_many_and_short_steps_get_on() -> None:
    bucket = FakeForeignBucket()
    drive = Driver(lambda: target_of(bucket), shipped(), seconds=0.001)

    drive.deliver()

    assert drive.most_pieces >= 2


def test_without_the_right_to_list_uploads_it_works() -> None:
    bucket = FakeForeignBucket()

    def refuse(call: str, _key: str) -> None:
        if call == "uploads":
            raise fault("forbidden")

    bucket.before = refuse
    driver(bucket, shipped()).deliver()

    assert bucket.under_way == {}


@pytest.mark.parametrize(
    ("size", "part"),
    [(1, MIB), (5 * MIB, MIB), (10_000 * MIB, MIB), (10_000 * MIB + 1, 2 * MIB), (30_000 * MIB, 3 * MIB)],
)
def test_sizes_of_parts(size: int, part: int) -> None:
    assert part_bytes_of(size, SIZES) == part


def test_what_no_store_takes() -> None:
    with pytest.raises(DeliveryFault) as caught:
        part_bytes_of(30_000 * MIB + 1, SIZES)

    assert (caught.value.code, caught.value.retry) == ("too_large", False)


def test_a_slow_store_is_read_back_in_parts() -> None:
    """A digest of half a file can't be kept: what one worker can't read in its time is read in parts."""
    bucket = FakeForeignBucket()
    shipment = shipped({"second.safetensors": FILES["second.safetensors"]})
    state = driver(bucket, shipment).send()
    clock = itertools.count(0, 300)
    slow = S3Target(
        DESTINATION, bucket, lambda _s: bucket, token=lambda: "round", monotonic=lambda: float(next(clock)), sizes=SIZES
    )
    advance = target_of(bucket).confirm(shipment, state, budget(0.001))
    kinds = [piece["do"] for piece in advance.fan]
    for piece in advance.fan:
        slow.piece(shipment, piece)
    advance = target_of(bucket).confirm(shipment, advance.state, budget(0.001))

    assert kinds == ["whole"]
    assert [piece["do"] for piece in advance.fan] == ["read"]
    for piece in advance.fan:
        target_of(bucket).piece(shipment, piece)
    assert target_of(bucket).confirm(shipment, advance.state, budget(0.001)).done
