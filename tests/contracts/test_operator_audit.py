"""The deploy program's records: the store of the API reads them, and the seals go over them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.domain.access_ports import AuditFilter
from chalicelib.domain.audit import AuditAction, AuditResult, next_seal
from chalicelib.domain.audit_chain import check_chain
from chalicelib.store import DynamoAuditStore
from infra.audit import OperatorAudit
from tests.support.doors import a_record
from tests.support.emulator import Emulator
from tests.support.jobs import NOW

ARN = "arn:aws:sts::123456789012:assumed-role/Deployer/grace"


def test_what_the_operator_did_lies_between_the_other_records(emulator: Emulator, audit_table: str) -> None:
    store = DynamoAuditStore(audit_table)
    store.append(a_record(NOW))
    ahead = timedelta(minutes=3)
    audit = OperatorAudit(
        emulator.client("dynamodb"), audit_table, ARN, "stcloud-test", ahead, clock=lambda: NOW + 2 * ahead
    )
    audit.record(AuditAction.PROVIDER_TOKEN_PUT, "provider:replicate", replaces=True)
    audit.record(AuditAction.SETUP_CODE_MAKE, "stack:setup-code", replaces=False)
    later = OperatorAudit(audit.dynamodb, audit_table, ARN, "stcloud-test", clock=lambda: NOW + timedelta(days=40))
    later.record(AuditAction.TRAINER_KEY_MAKE, "iam-user:x", replaces=False)
    found, _ = store.list(AuditFilter(actor=ARN), limit=10)
    assert (found[0].action, found[0].target, found[0].details) == (
        AuditAction.TRAINER_KEY_MAKE,
        "iam-user:x",
        {"replaces": False},
    )
    assert {(r.action, r.target) for r in found[1:]} == {
        (AuditAction.PROVIDER_TOKEN_PUT, "provider:replicate"),
        (AuditAction.SETUP_CODE_MAKE, "stack:setup-code"),
    }
    assert {(r.actor_kind, r.actor_name, r.result) for r in found} == {
        ("operator", "assumed-role/Deployer/grace", AuditResult.ALLOWED)
    }
    assert [r.at for r in found[1:]] == [NOW + ahead] * 2
    end = NOW + timedelta(days=41)
    store.add_seal(next_seal(None, store.after(None, until=end, limit=10), end))
    report = check_chain(store, end)
    assert (report.valid, report.sealed_records, report.unsealed_records) == (True, 4, 0)


def test_a_record_that_can_not_be_written_is_an_error(emulator: Emulator) -> None:
    client: Any = emulator.client("dynamodb")
    audit = OperatorAudit(client, "no-such-table", ARN, "stcloud-test", clock=lambda: NOW)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        audit.record(AuditAction.SETUP_CODE_MAKE, "stack:setup-code", replaces=False)
