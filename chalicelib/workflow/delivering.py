"""The workflow of one delivery: each call is one step or one piece, safe to repeat and to run twice at once.

What a step came to is written in two moves: the target's notes under a key of their own, then the record that names
them, if it still names those the step began with. A step that loses this race changes nothing, and the next one goes
on from what won.
"""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from chalicelib.domain.deliveries import Delivery, DeliveryProblem, DeliveryState, pause_after
from chalicelib.domain.delivery_ports import Advance, Budget, DeliveryFault
from chalicelib.domain.jobs import Job
from chalicelib.domain.ports import Ports
from chalicelib.domain.redaction import redact
from chalicelib.services.delivery_records import change_delivery, forget_notes, tell
from chalicelib.workflow.shipment import CONFIRM, SEND, Notes, Work, load_notes, open_work, save_notes

logger = logging.getLogger(__name__)

#: One step; a Lambda has 15 minutes.
STEP_BUDGET = timedelta(minutes=8)
#: Longer waits are not slept through: the execution ends, and the sweeper starts the next one in time.
LONGEST_WAIT = 300
#: Until a job has surely ended.
SOON = 10
#: Steps and pieces of one execution. Its history holds 25,000 events, about seven for each.
MAX_STEPS = 2_000
#: Pieces of one round; the input of a state holds 256 KB, and every piece may come back with a fault.
MAX_PIECES = 100
MAX_PIECES_BYTES = 100_000
MAX_FAULT_TEXT = 300
#: How often a delivery begins anew before that is given up: a copy that never reads back right won't.
MAX_RESTARTS = 5
MAX_TEXT = 500


def deliver_step(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Advances the delivery ``event["delivery_id"]`` by one step of STEP_BUDGET at most.

    Answers the next input: ``next`` is ``again``, ``pieces`` (``items`` for deliver_piece), ``wait`` (``seconds``, at
    most LONGEST_WAIT) or ``done``: it is over, or rests until the sweeper starts the next attempt. Whatever the
    destination does ends in the record. Raises only when our own database or bucket does not answer.
    """
    return _Step(event, ports).run()


def deliver_piece(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Does one piece. Answers ``{"fault": …}`` when the destination did not take it, else nothing; the next step sees
    what is there. Other errors go up: the state machine tries again."""
    delivery = ports.deliveries.get(event["job_id"], event["delivery_id"])
    if delivery is None or delivery.is_over or delivery.cancel_requested_at or delivery.attempt != event["attempt"]:
        return {}
    job = ports.jobs.get(delivery.job_id)
    if job is None:
        return {}
    try:
        work = open_work(ports, delivery, job)
        work.target.piece(work.shipment, event["piece"])
    except DeliveryFault as fault:
        return {"fault": _dumped(fault)}
    return {}


class _Step:
    def __init__(self, event: Mapping[str, Any], ports: Ports) -> None:
        self._job_id, self._id, self._attempt = event["job_id"], event["delivery_id"], event["attempt"]
        self._steps = int(event.get("steps", 0)) + 1
        self._faults = [_loaded(p["fault"]) for p in event.get("pieces") or [] if p and p.get("fault")]
        self._ports = ports

    def run(self) -> dict[str, Any]:
        delivery = self._ports.deliveries.get(self._job_id, self._id)
        if delivery is None or delivery.attempt != self._attempt:
            return self._answer("done")  # Its job was deleted, or a later execution goes on with it.
        if delivery.is_over:
            return self._over(delivery)
        job = self._ports.jobs.get(self._job_id)
        if job is None:
            self._ports.deliveries.delete_of(self._job_id)
            return self._answer("done")
        if delivery.cancel_requested_at is not None:
            return self._cancel(delivery, job)
        if delivery.next_try_at is not None and self._ports.clock.now() < delivery.next_try_at:
            return self._rest(delivery)
        if self._steps > MAX_STEPS:
            return self._answer("done")
        if job.is_active:
            return self._answer("wait", seconds=SOON)  # It is about to end: its deliveries are made just before.
        try:
            return self._go_on(delivery, job)
        except DeliveryFault as fault:
            return self._fault(delivery, job, fault)
        except Exception as error:  # noqa: BLE001 - whatever an adapter or its library raises: no wish may be lost
            _log(error, self._id)
            return self._fault(delivery, job, _unexpected())

    def _go_on(self, delivery: Delivery, job: Job) -> dict[str, Any]:
        if self._faults:
            raise _worst(self._faults)
        budget = Budget(self._ports.clock.now() + STEP_BUDGET, self._ports.clock.now)
        notes = load_notes(self._ports, delivery)
        work = open_work(self._ports, delivery, job)
        begun = self._begin(delivery, work, notes.phase)
        if begun is None:
            return self._answer("again")
        if notes.phase == SEND:
            advance = work.target.send(work.shipment, notes.state, budget)
        else:
            advance = work.target.confirm(work.shipment, notes.state or {}, budget)
        return self._came_to(begun, work, notes, advance)

    def _begin(self, delivery: Delivery, work: Work, phase: str) -> Delivery | None:
        """Notes that bytes are on their way; None when somebody else changed the record."""
        now, shipment = self._ports.clock.now(), work.shipment
        about: dict[str, Any] = {
            "resolved_credential": work.credential,
            "files_total": len(shipment.files),
            "bytes_total": shipment.bytes,
            "next_try_at": None,
        }
        state = DeliveryState.DELIVERING if phase == SEND else DeliveryState.DELIVERED
        if delivery.state is state and all(getattr(delivery, name) == value for name, value in about.items()):
            return delivery

        def decide(current: Delivery) -> Delivery | None:
            if not _same(current, delivery) or current.cancel_requested_at is not None:
                return None
            return current.moved(now, state, started_at=current.started_at or now, **about)

        begun = change_delivery(self._ports, self._job_id, self._id, decide)
        if begun is None or begun.state is not state or not _same(begun, delivery) or begun.cancel_requested_at:
            return None
        tell(self._ports, begun)
        return begun

    def _came_to(self, begun: Delivery, work: Work, notes: Notes, advance: Advance) -> dict[str, Any]:
        phase = CONFIRM if notes.phase == CONFIRM or advance.done else SEND
        came = (advance.files_done, advance.bytes_done)
        progressed = advance.done or came > notes.came
        key = save_notes(
            self._ports, begun, Notes(phase, dict(advance.state), came if phase == notes.phase else (0, 0))
        )
        now, shipment = self._ports.clock.now(), work.shipment
        verified = notes.phase == CONFIRM and advance.done
        changes: dict[str, Any] = {"notes_key": key, "result": {**begun.result, **advance.result}}
        if progressed:
            changes |= {"tries": 0, "problem": None}
        if advance.wait and not advance.done:
            changes["next_try_at"] = now + advance.wait
        if notes.phase == SEND:
            changes |= {"files_done": advance.files_done, "bytes_done": advance.bytes_done}
        if phase == CONFIRM:
            changes |= {"files_done": len(shipment.files), "bytes_done": shipment.bytes}
        state = DeliveryState.DELIVERED if phase == CONFIRM else DeliveryState.DELIVERING
        if verified:
            state = DeliveryState.VERIFIED

        def decide(current: Delivery) -> Delivery | None:
            return current.moved(now, state, **changes) if _same(current, begun) else None

        changed = change_delivery(self._ports, self._job_id, self._id, decide)
        if changed is None or changed.notes_key != key:
            self._ports.outputs.delete([key])
            return self._answer("again")
        if begun.notes_key is not None:
            self._ports.outputs.delete([begun.notes_key])
        if verified:
            return self._over(changed)
        if advance.fan and not advance.done:
            return self._pieces(advance.fan)
        return self._rest(changed) if changed.next_try_at is not None else self._answer("again")

    def _fault(self, base: Delivery, job: Job, fault: DeliveryFault) -> dict[str, Any]:
        now = self._ports.clock.now()
        current = self._ports.deliveries.get(self._job_id, self._id)
        if fault.restart and current is not None and _same(current, base):
            # Before the record says so: whoever begins anew must not find notes of what was.
            forget_notes(self._ports, base, but=base.notes_key)

        def decide(current: Delivery) -> Delivery | None:
            if not _same(current, base):
                return None
            restarts = current.restarts + fault.restart
            tries = current.tries + 1
            again = fault.retry and now < current.give_up_at and restarts <= MAX_RESTARTS
            changes: dict[str, Any] = {"tries": tries, "restarts": restarts, "problem": _problem(fault, now, again)}
            if fault.restart:
                changes |= {"notes_key": None, "files_done": 0, "bytes_done": 0, "result": {}}
            if not again:
                return current.moved(now, DeliveryState.FAILED, **changes)
            pause = pause_after(max(tries, restarts), fault.retry_after)
            changes["next_try_at"] = min(now + pause, current.give_up_at)
            return current.moved(now, DeliveryState.PENDING, **changes)

        changed = change_delivery(self._ports, self._job_id, self._id, decide)
        if changed is None:
            return self._answer("done")
        if changed.is_over:
            # Only who ended it clears up at the destination; the notes are still there then.
            if changed.finished_at == now and changed.state is DeliveryState.FAILED:
                self._abandon(changed, job)
            return self._over(changed)
        if fault.restart and base.notes_key is not None and changed.notes_key != base.notes_key:
            self._ports.outputs.delete([base.notes_key])
        tell(self._ports, changed)
        return self._rest(changed) if changed.next_try_at is not None else self._answer("again")

    def _cancel(self, delivery: Delivery, job: Job) -> dict[str, Any]:
        if delivery.started_at is not None:
            self._abandon(delivery, job)
        now = self._ports.clock.now()
        changed = change_delivery(
            self._ports,
            self._job_id,
            self._id,
            lambda d: None if d.is_over else d.moved(now, DeliveryState.CANCELLED),
        )
        return self._answer("done") if changed is None else self._over(changed)

    def _abandon(self, delivery: Delivery, job: Job) -> None:
        try:
            work = open_work(self._ports, delivery, job)
            work.target.abandon(work.shipment, load_notes(self._ports, delivery).state)
        except Exception as error:  # noqa: BLE001 - best effort: what is left there is none of the outcome
            _log(error, self._id)

    def _over(self, delivery: Delivery) -> dict[str, Any]:
        tell(self._ports, delivery)
        return self._answer("done")

    def _rest(self, delivery: Delivery) -> dict[str, Any]:
        if delivery.next_try_at is None:
            return self._answer("again")
        seconds = max(1, math.ceil((delivery.next_try_at - self._ports.clock.now()).total_seconds()))
        return self._answer("done") if seconds > LONGEST_WAIT else self._answer("wait", seconds=seconds)

    def _pieces(self, fan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        size = 0
        for piece in fan[:MAX_PIECES]:
            size += len(json.dumps(piece)) + 200
            if items and size > MAX_PIECES_BYTES:
                break
            items.append({**self._identity(), "piece": dict(piece)})
        self._steps += len(items)
        return self._answer("pieces", items=items)

    def _answer(self, next_: str, **more: Any) -> dict[str, Any]:
        return {**self._identity(), "steps": self._steps, "next": next_, **more}

    def _identity(self) -> dict[str, Any]:
        return {"job_id": self._job_id, "delivery_id": self._id, "attempt": self._attempt}


def _same(current: Delivery, base: Delivery) -> bool:
    """Whether a step that began with ``base`` may still say what it came to. A wish to cancel does not matter."""
    return not current.is_over and (current.attempt, current.notes_key, current.tries, current.restarts) == (
        base.attempt,
        base.notes_key,
        base.tries,
        base.restarts,
    )


def _problem(fault: DeliveryFault, now: Any, will_retry: bool) -> DeliveryProblem:
    return DeliveryProblem(
        code=fault.code,
        message=redact(fault.message)[:MAX_TEXT],
        advice=redact(fault.advice)[:MAX_TEXT],
        at=now,
        will_retry=will_retry,
    )


def _worst(faults: Sequence[DeliveryFault]) -> DeliveryFault:
    """The one to go by: what can't be mended by itself, then what takes everything anew, then the longest pause."""
    return max(faults, key=lambda f: (not f.retry, f.restart, f.retry_after or timedelta(0)))


def _dumped(fault: DeliveryFault) -> dict[str, Any]:
    return {
        "code": fault.code,
        "message": redact(fault.message)[:MAX_FAULT_TEXT],
        "advice": redact(fault.advice)[:MAX_FAULT_TEXT],
        "retry": fault.retry,
        "restart": fault.restart,
        "retry_after": fault.retry_after.total_seconds() if fault.retry_after is not None else None,
    }


def _loaded(dumped: Any) -> DeliveryFault:
    if not isinstance(dumped, Mapping) or "code" not in dumped:
        return _unexpected()  # The function died again and again.
    pause = dumped.get("retry_after")
    return DeliveryFault(
        str(dumped["code"]),
        str(dumped["message"]),
        str(dumped["advice"]),
        retry=bool(dumped["retry"]),
        restart=bool(dumped["restart"]),
        retry_after=timedelta(seconds=float(pause)) if pause is not None else None,
    )


def _unexpected() -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        "Something unexpected went wrong on this side.",
        "Nothing to do: it is tried again. Whoever runs this stack finds the reason in the log of deliver_model.",
        retry=True,
    )


def _log(error: Exception, delivery_id: str) -> None:
    # Not the exception itself: its text may hold an address with a signature in it.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("delivery %s: %s: %s\n%s", delivery_id, type(error).__name__, redact(str(error)), where)
