"""What the deploy program does to secrets and access, in the stack's own audit: same table, same records."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from botocore.exceptions import ClientError

from chalicelib.domain.audit import AuditAction, AuditRecord, AuditResult, record_id
from infra.errors import error_code

KIND = "operator"
_RANDOM_BYTES = 15


class Record(Protocol):
    def __call__(self, action: AuditAction, target: str, *, replaces: bool) -> None:
        """Notes what is about to be done, or raises: then it must not be done."""


@dataclass(frozen=True)
class OperatorAudit:
    """Appends records whose actor is whoever runs the program; needs dynamodb:PartiQLInsert on ``table``.

    ``arn`` is the caller's as STS says it. ``ahead`` is how far this computer's clock is before AWS's: a record that
    comes with a time of which the seals are made already would break their chain.
    """

    dynamodb: Any
    table: str
    arn: str
    stack: str
    ahead: timedelta = timedelta()
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def record(self, action: AuditAction, target: str, *, replaces: bool) -> None:
        """As ``Record``. Holds no secret: only what was made, and whether there was one before."""
        now = self.clock() - self.ahead
        record = AuditRecord(
            record_id=record_id(now, secrets.token_urlsafe(_RANDOM_BYTES)),
            at=now,
            action=action,
            result=AuditResult.ALLOWED,
            actor_kind=KIND,
            actor_id=self.arn,
            actor_name=self.arn.rpartition(":")[2],
            target=target,
            owner="",
            # CloudTrail knows the address of whoever called AWS; this program does not.
            source_ip="",
            request_id=f"deploy:{self.stack}",
            details={"replaces": replaces},
        )
        # As chalicelib/store/audit.py has it; tests/contracts/test_operator_audit.py reads it back with that.
        month = f"{now:%Y-%m}"
        try:
            self._insert(pk="months", sk=month)
        except ClientError as error:
            if error_code(error) != "DuplicateItemException":
                raise
        self._insert(pk=f"audit#{month}", sk=record.record_id, document=record.model_dump_json())

    def _insert(self, **item: str) -> None:
        item["write_id"] = uuid.uuid4().hex
        names = ", ".join(f"'{name}': ?" for name in item)
        self.dynamodb.execute_statement(
            Statement=f'INSERT INTO "{self.table}" VALUE {{{names}}}',
            Parameters=[{"S": value} for value in item.values()],
        )
