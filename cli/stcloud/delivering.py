"""Deliveries in words, and following them until they are over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stcloud.delivery_api import DeliveryApi
from stcloud.errors import ExitCode, Interrupted, NetworkError, RateLimited, ServerError, StcloudError
from stcloud.render import Output, duration_text, size_text, time_text

COLUMNS = ("DELIVERY", "TO", "STATE", "SENT", "")
#: Seconds between looks: at first, and at most.
FIRST_WAIT, LAST_WAIT, GROWTH = 2.0, 20.0, 1.3
#: A server that does not answer this long is given up; deliveries go on without us.
PATIENCE = 600.0
#: A delivery is tried for three days.
LONGEST = 4 * 24 * 3600.0


def rows(deliveries: Iterable[dict[str, Any]]) -> list[list[str]]:
    return [[d["delivery_id"], d["destination"]["label"], state_text(d), _sent(d), _remark(d)] for d in deliveries]


def state_text(delivery: dict[str, Any]) -> str:
    if delivery["cancel_requested"] and not delivery["is_over"]:
        return f"{delivery['state']} (cancelling)"
    return str(delivery["state"])


def line_of(delivery: dict[str, Any]) -> str:
    """One line about how far it has come."""
    facts = [f"{delivery['destination']['label']}: {state_text(delivery)}", _sent(delivery), _remark(delivery)]
    return " · ".join(fact for fact in facts if fact)


def _sent(delivery: dict[str, Any]) -> str:
    total = delivery["bytes_total"]
    if not total:
        return ""
    if delivery["bytes_done"] >= total:
        return size_text(total)
    return f"{delivery['percent'] or 0:.0f} % of {size_text(total)}"


def _remark(delivery: dict[str, Any]) -> str:
    problem = delivery["problem"]
    if delivery["state"] == "verified":
        url = delivery["result"].get("url")
        return url if isinstance(url, str) else ""
    if problem is None:
        return ""
    when = f" Tried again at {time_text(delivery['next_try_at'])}." if delivery["next_try_at"] else ""
    return f"{problem['message']}{when}" if problem["will_retry"] else f"{problem['message']} {problem['advice']}"


def follow(
    api: DeliveryApi,
    output: Output,
    job_id: str,
    *,
    only: frozenset[str] | None = None,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> list[dict[str, Any]]:
    """The job's deliveries once all are over (those in ``only``, where given), escrow left out. Tells of each change.

    Survives a server that restarts, for ten minutes. Raises NetworkError, Interrupted (the deliveries go on).
    """
    try:
        return _follow(api, output, job_id, only, sleep, monotonic)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped watching; the deliveries go on.", advice=f"Look again: stcloud jobs deliveries {job_id}"
        ) from None


def _follow(
    api: DeliveryApi,
    output: Output,
    job_id: str,
    only: frozenset[str] | None,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> list[dict[str, Any]]:
    told: dict[str, tuple[Any, ...]] = {}
    wait, silent_since = FIRST_WAIT, None
    until = monotonic() + LONGEST
    while monotonic() < until:
        try:
            found = [d for d in api.of_job(job_id)["deliveries"] if d["kind"] != "escrow"]
        except (NetworkError, ServerError, RateLimited) as error:
            silent_since = monotonic() if silent_since is None else silent_since
            if monotonic() - silent_since > PATIENCE:
                raise NetworkError(
                    f"No answer for {duration_text(PATIENCE)}: {error.message}",
                    advice=f"The deliveries go on. Look again: stcloud jobs deliveries {job_id}",
                ) from error
        else:
            silent_since = None
            wanted = [d for d in found if only is None or d["delivery_id"] in only]
            news = [d for d in wanted if told.get(d["delivery_id"]) != _mark(d)]
            for delivery in news:
                told[delivery["delivery_id"]] = _mark(delivery)
                if output.json_mode:
                    output.line({"type": "delivery", "delivery": delivery})
                else:
                    output.note(line_of(delivery))
            if all(d["is_over"] for d in wanted):
                return wanted
            wait = FIRST_WAIT if news else min(LAST_WAIT, wait * GROWTH)
        sleep(wait)
    raise StcloudError(
        f"The deliveries are still not over after {duration_text(LONGEST)}.",
        advice=f"stcloud jobs deliveries {job_id}",
    )


def _mark(delivery: dict[str, Any]) -> tuple[Any, ...]:
    problem = delivery["problem"] or {}
    return (
        delivery["state"],
        delivery["cancel_requested"],
        int((delivery["percent"] or 0) // 10),
        problem.get("code"),
        problem.get("will_retry"),
    )


def outcome(output: Output, job_id: str, deliveries: Iterable[dict[str, Any]]) -> ExitCode:
    """What to end with; says what to do about those that failed. Of several to the same place the last counts."""
    latest = {_place(d): d for d in deliveries if d["state"] != "cancelled"}
    failed = [d for d in latest.values() if d["state"] == "failed"]
    for delivery in failed:
        problem = delivery["problem"] or {"message": "no reason was recorded", "advice": "", "code": "failed"}
        label = delivery["destination"]["label"]
        output.complaint(
            StcloudError(
                f"Delivery to {label} failed: {problem['message']}",
                advice=f"{problem['advice']}   Then: stcloud jobs deliver {job_id} --retry {delivery['delivery_id']}",
                code=problem["code"],
            )
        )
    return ExitCode.NOT_DELIVERED if failed else ExitCode.OK


def _place(delivery: dict[str, Any]) -> str:
    to = delivery["destination"]
    return "|".join(str(to.get(name)) for name in ("kind", "label", "revision", "endpoint_url", "url"))
