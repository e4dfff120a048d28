"""What a delivery to a bucket keeps in mind, as small objects in escrow: nothing that was begun at the destination is
forgotten, whatever is killed when.

Below ``state_prefix``: ``uploads/<file>-<token>.json`` is written before an upload in parts is started there, and again
with its id; ``pieces/<name>.json`` holds the parts that a piece has sent or read back; ``again/<file>.json`` says that
a file was found damaged and must be sent even if it seems to be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.domain.delivery_ports import DeliveryFault, Shipment
from chalicelib.domain.foreign_bucket import ForeignBucket
from chalicelib.domain.objects import MultipartGoneError, MultipartInfo

#: Uploads that one file may have begun at most; each is a kill at the very moment between two calls.
MAX_UPLOADS = 50


class Notes:
    """``token`` gives short random texts that are safe in keys."""

    def __init__(self, shipment: Shipment, token: Callable[[], str]) -> None:
        self._escrow = shipment.escrow
        self._prefix = shipment.state_prefix
        self._token = token

    def load(self, name: str) -> dict[str, Any] | None:
        data = self._escrow.get(self._prefix + name)
        if data is None:
            return None
        try:
            note = json.loads(data)
        except ValueError:
            return None
        return note if isinstance(note, dict) else None

    def save(self, name: str, note: Mapping[str, Any]) -> None:
        self._escrow.put(self._prefix + name, json.dumps(note).encode(), content_type="application/json")

    def drop(self, *names: str) -> None:
        self._escrow.delete([self._prefix + name for name in names])

    def names(self, folder: str, limit: int = MAX_UPLOADS) -> list[str]:
        found = self._escrow.list(f"{self._prefix}{folder}", limit=limit)
        return [info.key.removeprefix(self._prefix) for info in found]

    def open_upload(
        self, bucket: ForeignBucket, index: int, key: str, *, metadata: Mapping[str, str], content_type: str
    ) -> dict[str, Any]:
        """The file's upload in parts, ``{"id", "checksums"}``: the one that was begun before when there is one, so that
        two workers agree on it. ``checksums`` says whether the store wants each part's SHA-256."""
        for name in self.names(_folder(index)):
            note = self._settled(bucket, name)
            if note is None:
                continue
            try:
                bucket.parts(key, note["id"])
            except MultipartGoneError:
                self.drop(name)
                continue
            return {"id": note["id"], "checksums": bool(note.get("checksums"))}
        name = f"{_folder(index)}{self._token()}.json"
        note = {"key": key, "before": [upload.upload_id for upload in _listed(bucket, key)], "id": None}
        self.save(name, note)
        upload_id, checksums = bucket.start_upload(key, metadata=metadata, content_type=content_type)
        self.save(name, {**note, "id": upload_id, "checksums": checksums})
        return {"id": upload_id, "checksums": checksums}

    def abort_uploads(self, bucket: ForeignBucket, index: int | None = None) -> None:
        """Throws away what was begun for one file, or for all. All are tried; then raises DeliveryFault
        of the first that the store did not give up."""
        folder = "uploads/" if index is None else _folder(index)
        failed: DeliveryFault | None = None
        for name in self.names(folder, limit=100 * MAX_UPLOADS):
            try:
                note = self._settled(bucket, name)
                if note is not None:
                    bucket.abort_upload(str(note["key"]), str(note["id"]))
            except DeliveryFault as fault:
                failed = failed or fault
                continue
            self.drop(name)
        if failed is not None:
            raise failed

    def _settled(self, bucket: ForeignBucket, name: str) -> dict[str, Any] | None:
        """The note with its upload's id. One without was written by a worker that was killed around the call: the
        upload is the one that was not there before. Whatever else is under way at this key belongs to somebody else."""
        note = self.load(name)
        if note is None or not isinstance(note.get("key"), str):
            return None
        if isinstance(note.get("id"), str):
            return note
        before = set(note.get("before") or ())
        known = {
            other.get("id") for other in map(self.load, self.names(name.rpartition("-")[0] + "-")) if other is not None
        }
        ours = [u for u in _listed(bucket, note["key"]) if u.upload_id not in before | known]
        if len(ours) != 1:
            return None
        # Whether it wants checksums is forgotten, so nothing can be sent to it; it can only be thrown away.
        bucket.abort_upload(note["key"], ours[0].upload_id)
        return None


def _folder(index: int) -> str:
    return f"uploads/{index:05d}-"


def _listed(bucket: ForeignBucket, key: str) -> list[MultipartInfo]:
    """Without the right to list, an upload that a kill orphaned stays until the bucket's own lifecycle ends it."""
    try:
        return list(bucket.uploads(key))
    except DeliveryFault as fault:
        if fault.code in {"forbidden", "bad_destination"}:
            return []
        raise
