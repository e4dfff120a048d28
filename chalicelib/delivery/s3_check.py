"""Whether a delivery to a bucket would be let in: a canary is written, read back and deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from chalicelib.domain.delivery_ports import CheckedTarget, DeliveryFault
from chalicelib.domain.destinations import S3Destination, label
from chalicelib.domain.foreign_bucket import ForeignBucket

CANARY = ".stcloud-canary-"


def check_bucket(
    destination: S3Destination, bucket: ForeignBucket, *, token: str, seconds: float, monotonic: Callable[[], float]
) -> CheckedTarget:
    """Raises DeliveryFault. What was written is removed as far as the key may."""
    stop_at = monotonic() + seconds
    name = label(destination)
    prefix = destination.prefix.strip("/")
    key = f"{prefix}/{CANARY}{token}" if prefix else f"{CANARY}{token}"
    data = f"SimpleTuner Cloud was here to check whether it may write. {token}\n".encode()
    sha256 = hashlib.sha256(data).hexdigest()

    def in_time() -> None:
        if monotonic() > stop_at:
            raise DeliveryFault(
                "timeout",
                f"{name} takes too long to answer: a small object took more than {seconds:.0f} seconds.",
                "Look at the store and its connection, then check again.",
                retry=True,
            )

    bucket.put(key, data, sha256=sha256, metadata={"stcloud-canary": token}, content_type="text/plain")
    facts = [f"writes to {name}"]
    stayed: str | None = None
    try:
        in_time()
        read = b"".join(bucket.read(key, start=0, length=len(data)))
        if read != data:
            raise DeliveryFault(
                "bad_destination",
                f"What was written to {name} reads back as something else.",
                "Look whether a cache or a proxy is before the store, and give the store's own address.",
                retry=False,
            )
        facts.append("reads back what was written")
        in_time()
        _shows_missing(bucket, f"{key}.missing", name)
        in_time()
        facts += _parts(bucket, f"{key}.parts")
        in_time()
    finally:
        stayed = _removed(bucket, key)
    facts.append(stayed or "removes its traces")
    return CheckedTarget(facts=tuple(facts), result={"canary_left": key} if stayed else {})


def _shows_missing(bucket: ForeignBucket, key: str, name: str) -> None:
    """A missing object must look missing: AWS says 403 instead to a key that may not list the bucket."""
    try:
        bucket.head(key)
    except DeliveryFault as fault:
        if fault.code != "forbidden":
            raise
        raise DeliveryFault(
            "forbidden",
            f"This key can't tell whether an object is at {name}: {fault.message}",
            "Allow it s3:ListBucket on the bucket, or it can't be seen what is there already.",
            retry=False,
        ) from None


def _parts(bucket: ForeignBucket, key: str) -> list[str]:
    """Large files go up in parts; whether such an upload can be begun, and given up."""
    upload_id, checksums = bucket.start_upload(key, metadata={}, content_type="text/plain")
    facts = ["takes uploads in parts" + (" with SHA-256" if checksums else "")]
    try:
        bucket.abort_upload(key, upload_id)
    except DeliveryFault as fault:
        if fault.code != "forbidden":
            raise
        facts.append("warning: may not abort uploads in parts (s3:AbortMultipartUpload), so cancelled ones stay")
    return facts


def _removed(bucket: ForeignBucket, key: str) -> str | None:
    """None when the canary is gone, else what to tell about it. Never hides an error of the check itself."""
    try:
        bucket.delete(key)
    except DeliveryFault as fault:
        if fault.code == "forbidden":
            return f"warning: may not delete (s3:DeleteObject), so {key} stays; deliveries delete nothing"
        return f"warning: {key} stays, since it could not be deleted: {fault.message}"
    return None
