"""What the commands of the local stack do while it is down: looking, resetting, checking ports, asking for a sweep."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from local.setup.console import Console
from local.stack import down, look, record
from local.stack.errors import StackError
from local.stack.layout import Layout, Ports
from local.stack.preflight import preflight
from local.stack.processes import identity
from local.stack.record import Member, Record
from local.stack.sweeping import FUNCTION, sweep_soon


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    return layout


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(out: io.StringIO) -> Console:
    return Console(out)


# Logs


def test_without_a_stack_the_end_of_every_log_is_shown_once(layout: Layout, console: Console, out: io.StringIO) -> None:
    layout.log("emulator").write_text("one\ntwo\nthree\n")
    layout.log("sandbox").write_text("alone\n")
    layout.log("setup").write_text("npm noise\n")
    assert look.logs(layout, console, follow=True, lines=2) == 0
    shown = out.getvalue().splitlines()
    assert shown[:3] == ["emulator | two", "emulator | three", "sandbox  | alone"]
    assert "not up" in shown[-1]
    assert "npm" not in out.getvalue()


def test_no_logs_yet(layout: Layout, console: Console, out: io.StringIO) -> None:
    layout.log("setup").write_text("npm noise\n")
    assert look.logs(layout, console, follow=True, lines=20) == 0
    assert "make run" in out.getvalue()


def test_what_a_running_stack_wrote_is_shown_without_a_word_on_its_end(
    layout: Layout, console: Console, out: io.StringIO
) -> None:
    layout.log("sandbox").write_text("alone\n")
    with record.holding(layout.lock):
        assert look.logs(layout, console, follow=False, lines=20) == 0
    assert out.getvalue() == "sandbox | alone\n"


# Reset


@pytest.fixture
def used(layout: Layout) -> Layout:
    """With state, a model of the demo, and what a reset must leave."""
    (layout.emulator_state / "s3").mkdir(parents=True)
    (layout.emulator_state / "s3" / "object").write_text("x")
    layout.stack_file.write_text("{}")
    (layout.run / "provider-token").write_text("r8_x")
    (layout.demo_models / "job").mkdir(parents=True)
    (layout.demo_models / "job" / "w.safetensors").write_text("x")
    (layout.demo / "photographs-1").mkdir()
    layout.log("emulator").write_text("x")
    return layout


def left(layout: Layout) -> set[str]:
    return {str(p.relative_to(layout.data)) for p in layout.data.rglob("*") if p.is_file() or not any(p.iterdir())}


KEPT = {"run/supervisor.lock", "demo/photographs-1", "logs/emulator.log"}


def test_a_reset_removes_jobs_datasets_and_models_and_says_so(used: Layout, console: Console, out: io.StringIO) -> None:
    assert down.reset(used, console, yes=True) == 0
    assert left(used) == KEPT
    assert "Removing jobs, datasets, models, people and keys" in out.getvalue()


def test_a_reset_twice_is_no_error(used: Layout, console: Console) -> None:
    assert down.reset(used, console, yes=True) == down.reset(used, console, yes=True) == 0


@pytest.mark.parametrize(("typed", "code"), [("reset", 0), (" reset ", 0), ("yes", 1), ("", 1)])
def test_a_reset_asks_first(used: Layout, console: Console, out: io.StringIO, typed: str, code: int) -> None:
    before = left(used)
    assert down.reset(used, console, yes=False, ask=lambda _: typed) == code
    assert left(used) == (before if code else KEPT)
    assert ("Nothing was removed" in out.getvalue()) == bool(code)


def test_the_end_of_the_input_is_no_yes(used: Layout, console: Console) -> None:
    def ended(_: str) -> str:
        raise EOFError

    assert down.reset(used, console, yes=False, ask=ended) == 1
    assert used.stack_file.exists()


def test_a_reset_that_was_cut_off_is_noticed_and_finished(used: Layout, console: Console, out: io.StringIO) -> None:
    used.reset_mark.touch()
    assert look.status(used, console) == look.NOT_UP
    assert "cut off" in out.getvalue()
    down.finish_reset(used, console)
    assert left(used) == KEPT | {"state"}
    assert used.state.is_dir(), "the start that goes on needs it"
    assert "Finishing it" in out.getvalue()


def test_without_such_a_reset_nothing_is_removed(used: Layout, console: Console, out: io.StringIO) -> None:
    before = left(used)
    down.finish_reset(used, console)
    assert (left(used), out.getvalue()) == (before, "")


def test_what_can_not_be_removed_leaves_the_mark(used: Layout, console: Console) -> None:
    (used.run / "a-folder").mkdir()  # nothing of ours makes one there
    with pytest.raises(StackError, match="make reset"):
        down.reset(used, console, yes=True)
    assert down.is_unfinished(used)
    (used.run / "a-folder").rmdir()
    assert down.reset(used, console, yes=True) == 0
    assert not down.is_unfinished(used)


# Ports before the set-up


@pytest.mark.parametrize("port", ["eight", "80", "65534", "-1"])
def test_a_port_that_can_not_be_is_refused_before_anything_is_made(tmp_path: Path, port: str) -> None:
    with pytest.raises(StackError, match="1024 to 65533"):
        preflight(Layout(tmp_path), port, "make run")
    assert list(tmp_path.iterdir()) == []


def taken(port: int) -> bool:
    """That all ports from 8511 to 8513 are somebody else's."""
    return not 8511 <= port <= 8513


def test_a_port_in_use_is_said_with_the_command_that_helps(layout: Layout) -> None:
    with pytest.raises(StackError, match=r"Port 8512 \(for the AWS emulator\) is in use") as caught:
        preflight(layout, "8511", "make up", taken)
    assert str(caught.value).endswith("PORT=8521 make up")
    preflight(layout, "8514", "make up", taken)


@pytest.mark.parametrize("port", [None, ""])
def test_no_port_is_the_default_one(layout: Layout, port: str | None) -> None:
    looked: list[int] = []
    preflight(layout, port, "make run", lambda port: not looked.append(port))
    assert looked == [8001, 8002, 8003]


def test_our_own_stack_is_not_in_the_way(layout: Layout) -> None:
    record.write(layout.record, Record(os.getpid(), "1", 8511))
    with record.holding(layout.lock):
        preflight(layout, "8511", "make run", taken)
        with pytest.raises(StackError, match="up on port 8511, not 8001"):
            preflight(layout, None, "make run", taken)


def test_what_a_killed_supervisor_left_is_the_starts_to_end(layout: Layout) -> None:
    mine = Member(os.getpid(), identity(os.getpid()) or "")
    record.write(layout.record, Record(1, "0", 8511, children={"AWS emulator": mine}))
    preflight(layout, "8511", "make run", taken)
    record.write(layout.record, Record(1, "0", 8511, children={"AWS emulator": Member(os.getpid(), "0")}))
    with pytest.raises(StackError, match="in use"):
        preflight(layout, "8511", "make run", taken)


# The sweep after a start


class Lambda:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._error = error

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.calls.append(call)
        if self._error:
            raise self._error
        return {"StatusCode": 202}


def test_a_sweep_is_asked_for_and_not_waited_for() -> None:
    functions, asked = Lambda(), []

    def connect(service: str, url: str) -> Lambda:
        asked.append((service, url))
        return functions

    assert sweep_soon(Ports(8511), connect) is None
    assert asked == [("lambda", "http://127.0.0.1:8512")]
    assert [(c["FunctionName"], c["InvocationType"]) for c in functions.calls] == [("stcloud-local-sweep", "Event")]
    assert FUNCTION == "stcloud-local-sweep"


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="http://127.0.0.1:8512"),
        ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "none"}}, "Invoke"),
    ],
)
def test_a_sweep_that_can_not_be_asked_for_ends_nothing(error: Exception) -> None:
    said = sweep_soon(Ports(8511), lambda *_: Lambda(error))
    assert said is not None
    assert "within two minutes" in said
