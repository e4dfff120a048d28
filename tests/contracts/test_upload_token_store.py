"""``UploadTokenStore``: hashes of a job's upload tokens."""

from __future__ import annotations

import pytest

from chalicelib.domain.ports import StaleRecordError
from chalicelib.domain.storage import UploadTokens, UploadTokenStore
from tests.support.jobs import NOW, together


def tokens(revision: int, *hashes: str, job_id: str = "job1") -> UploadTokens:
    return UploadTokens(job_id=job_id, hashes=hashes, vanishes_at=NOW, revision=revision)


def test_revisions_follow_each_other(upload_tokens: UploadTokenStore) -> None:
    assert upload_tokens.get("job1") == UploadTokens(job_id="job1")
    upload_tokens.put(tokens(1, "a"))
    upload_tokens.put(tokens(2, "a", "b"))
    for stale in (1, 2, 4):
        with pytest.raises(StaleRecordError):
            upload_tokens.put(tokens(stale, "c"))
    assert upload_tokens.get("job1") == tokens(2, "a", "b")
    assert upload_tokens.get("job2").hashes == ()


def test_of_two_at_once_one_is_told(upload_tokens: UploadTokenStore) -> None:
    results = together(2, lambda n: upload_tokens.put(tokens(1, str(n))))
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "StaleRecordError"]
