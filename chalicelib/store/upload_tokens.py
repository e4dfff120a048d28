"""Upload tokens of jobs in DynamoDB: one item a job, hashes only."""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.domain.ports import StaleRecordError
from chalicelib.domain.storage import UploadTokens
from chalicelib.store.faults import ConditionFailedError
from chalicelib.store.records import Record, ttl_seconds
from chalicelib.store.table import Table

_SK = "upload-tokens"


class DynamoUploadTokenStore:
    """``UploadTokenStore`` over the keys table. Besides what the port says, every method raises ``Unavailable`` when
    DynamoDB can't answer.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def get(self, job_id: str) -> UploadTokens:
        record = self._table.get(_pk(job_id), _SK)
        return UploadTokens.model_validate_json(record.document) if record else UploadTokens(job_id=job_id)

    def put(self, tokens: UploadTokens) -> None:
        gone_at = ttl_seconds(tokens.vanishes_at) if tokens.vanishes_at is not None else None
        record = self._table.new(
            _pk(tokens.job_id),
            _SK,
            document=tokens.model_dump_json(),
            version=tokens.revision,
            expires_at=gone_at,
        )
        first = tokens.revision == 1
        try:
            self._table.put(record, Record.pk.does_not_exist() if first else Record.version == tokens.revision - 1)
        except ConditionFailedError:
            raise StaleRecordError(tokens.job_id) from None


def _pk(job_id: str) -> str:
    return f"upload#{job_id}"
