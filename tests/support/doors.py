"""People, keys and audit records to store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.api_keys import ApiKey, compose, parse
from chalicelib.domain.audit import AuditAction, AuditRecord, AuditResult, record_id
from chalicelib.domain.people import Person
from chalicelib.domain.permissions import Role
from tests.support.jobs import NOW

ROOM = 50


def a_person(user_id: str = "sub-ada", *, role: Role = Role.RESEARCHER, **changes: Any) -> Person:
    username = changes.pop("username", user_id.removeprefix("sub-"))
    return Person(
        user_id=user_id,
        username=username,
        email=changes.pop("email", f"{username}@example.com"),
        role=role,
        created_at=changes.pop("created_at", NOW),
        **changes,
    )


def a_key_text(user_id: str = "sub-ada", serial: str = "0000000001", secret: str = "s" * 32) -> str:
    return compose(user_id, serial, secret)


def an_api_key(number: int = 1, *, user_id: str = "sub-ada", **changes: Any) -> ApiKey:
    presented = parse(a_key_text(user_id, f"{number:010d}"))
    assert presented is not None
    return ApiKey(
        key_id=presented.key_id,
        user_id=user_id,
        name=changes.pop("name", f"key {number}"),
        prefix=f"stk_{presented.key_id[:8]}",
        secret_sha256=presented.secret_sha256,
        created_at=changes.pop("created_at", NOW + timedelta(seconds=number)),
        **changes,
    )


def a_record(at: datetime = NOW, token: str = "a", **changes: Any) -> AuditRecord:
    base = AuditRecord(
        record_id=record_id(at, token),
        at=at,
        action=AuditAction.JOB_SUBMIT,
        result=AuditResult.ALLOWED,
        actor_kind="session",
        actor_id="sub-ada",
        actor_name="ada",
        target="job:job1",
        owner="sub-ada",
        source_ip="203.0.113.7",
        request_id="request-1",
        details={"provider": "replicate", "list": [1, None, "ü"]},
    )
    return base.model_copy(update=changes)
