"""Sealing: in order, once, and also when two sealers meet."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.events.tasks import run_sweep
from chalicelib.services.audit import MAX_SEALS, MAX_TEXT, SEAL_BATCH, Actor, AuditService
from chalicelib.wiring import build_services
from tests.fakes.clock import PredictableText
from tests.fakes.world import World
from tests.unit.services.between import Between

ACTOR = Actor("session", "u", "rita", "u", "127.0.0.1", "r")


def write(world: World, count: int = 1) -> None:
    for n in range(count):
        world.services.audit.record(ACTOR, AuditAction.CONFIG_SAVE, AuditResult.ALLOWED, target=f"config:{n}")


def test_only_what_is_old_enough_is_sealed() -> None:
    world = World()
    write(world, 3)
    world.clock.advance(60)
    write(world, 2)
    assert world.services.audit.seal() == 0
    world.clock.advance(1)
    assert world.services.audit.seal() == 3
    assert world.services.audit.seal() == 0
    world.clock.advance(60)
    assert world.services.audit.seal() == 2
    assert [s.number for s in world.audit.seals()] == [1, 2]
    assert world.services.audit.verify().valid


def test_a_busy_minute_takes_several_seals_and_one_run_is_bounded() -> None:
    world = World()
    write(world, SEAL_BATCH + 5)
    world.clock.advance(61)
    assert world.services.audit.seal(until=world.clock.now()) == 0
    assert world.services.audit.seal() == SEAL_BATCH + 5
    assert [s.count for s in world.audit.seals()] == [SEAL_BATCH, 5]
    assert MAX_SEALS * SEAL_BATCH >= 10_000


def test_two_sealers_at_once_make_one_chain() -> None:
    world = World()
    write(world, 3)
    world.clock.advance(61)
    other = world.services.audit
    meeting = Between(world.audit, "add_seal", other.seal)
    assert AuditService(meeting, world.clock, PredictableText()).seal() == 0  # type: ignore[arg-type]
    assert [s.count for s in world.audit.seals()] == [3]
    assert other.verify().valid


def test_a_copy_of_each_seal_goes_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    write(world, 3)
    world.clock.advance(120)
    with caplog.at_level(logging.INFO, "chalicelib"):
        world.services.audit.seal()
    (seal,) = world.audit.seals()
    (line,) = (m for m in caplog.messages if m.startswith("audit_seal: "))
    assert line == f"audit_seal: number 1 over 3 records to {seal.last}: {seal.digest}"


def test_every_sweep_seals() -> None:
    world = World()
    write(world, 3)
    world.clock.advance(61)
    assert run_sweep(world.services)["audit_sealed"] == 3
    assert run_sweep(world.services)["audit_sealed"] == 0


def test_jobs_are_swept_though_the_audit_is_out_of_order() -> None:
    world = World()
    job = world.submit(dataloader_config=[{"id": "x", "type": "huggingface", "dataset_name": "owner/x"}]).job
    world.machine.executions.clear()
    meeting = Between(world.audit, "last_seal", lambda: 1 / 0)
    services = build_services(world.ports, replace(world.doors, audit=meeting), world.services.settings)  # type: ignore[arg-type]
    world.clock.advance(300)
    with pytest.raises(ZeroDivisionError):
        run_sweep(services)
    assert world.job(job.job_id).attempt == 2


def test_texts_from_outside_are_cut() -> None:
    world = World()
    long = Actor("session", "u" * 999, "n" * 999, "o" * 999, "i" * 999, "r" * 999)
    world.services.audit.record(long, AuditAction.CONFIG_SAVE, AuditResult.DENIED, target="t" * 999)
    (record,) = world.audit.records
    assert {len(t) for t in (record.actor_id, record.actor_name, record.owner, record.source_ip, record.target)} == {
        MAX_TEXT
    }
    assert record.at == world.clock.now() + timedelta(0)
