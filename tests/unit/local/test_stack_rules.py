"""The local stack's rules: ports, restarts, records, what is deployed, what is said."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.stack import programs, record
from local.stack.announce import announcement
from local.stack.deployment import command, environment, fingerprint, is_deployed
from local.stack.errors import StackError, Stopped
from local.stack.layout import Layout, Ports
from local.stack.logs import FileFollower, LambdaFollower, follow
from local.stack.ports import _holder_from_proc, parse_port
from local.stack.processes import identity, rotate, tail
from local.stack.record import Member, Record
from local.stack.restarts import LONGEST_DELAY_SECONDS, MOST_IN_WINDOW, WINDOW_SECONDS, Restarts
from local.stack.supervisor import Interrupts


def test_three_ports_follow_each_other() -> None:
    ports = Ports(8011)
    assert (ports.public_url, ports.emulator_url, ports.sandbox_url) == (
        "http://localhost:8011",
        "http://127.0.0.1:8012",
        "http://127.0.0.1:8013",
    )


@pytest.mark.parametrize("text", ["0", "80", "1023", "65534", "70000", "-1", "eight", "", "8001 ; ls", "٨٠٠١"])
def test_a_port_that_can_not_be_is_named(text: str) -> None:
    with pytest.raises(StackError, match="1024 to 65533"):
        parse_port(text)


def test_ports_that_can_be_are_taken() -> None:
    assert (parse_port("1024"), parse_port(" 8001 "), parse_port("65533")) == (1024, 8001, 65533)


def test_the_holder_of_a_port_is_found_in_proc(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    listening = "   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n"
    connected = "   1: 0100007F:1F41 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1\n"
    (tmp_path / "net" / "tcp").write_text(head + connected + listening)
    (tmp_path / "123" / "fd").mkdir(parents=True)
    (tmp_path / "123" / "comm").write_text("node\n")
    (tmp_path / "123" / "fd" / "5").symlink_to("socket:[4711]")
    assert _holder_from_proc(8001, tmp_path) == "node (process 123)"
    assert _holder_from_proc(8002, tmp_path) is None
    assert _holder_from_proc(8001, tmp_path / "nowhere") is None


def test_a_second_stack_shares_code_and_environments_alone(tmp_path: Path) -> None:
    first, second = (Layout.from_environment(e, tmp_path) for e in ({}, {"STC_LOCAL_DIR": str(tmp_path / "second")}))
    assert Layout.from_environment({"STC_LOCAL_DIR": ""}, tmp_path) == first == Layout(tmp_path)
    for part in ("run", "logs", "state", "stack_file", "lock", "record", "deployed", "emulator_state"):
        assert getattr(first, part).is_relative_to(tmp_path / ".local")
        assert getattr(second, part).is_relative_to(tmp_path / "second")
    assert (second.python, second.emulator_python, second.root) == (first.python, first.emulator_python, first.root)


def test_restarts_wait_longer_each_time_and_end() -> None:
    restarts = Restarts()
    delays = [restarts.delay(float(n)) for n in range(MOST_IN_WINDOW + 1)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, None]
    assert max(delay for delay in delays if delay) <= LONGEST_DELAY_SECONDS


def test_old_deaths_are_forgiven() -> None:
    restarts = Restarts()
    for n in range(MOST_IN_WINDOW):
        restarts.delay(float(n))
    assert restarts.delay(WINDOW_SECONDS + MOST_IN_WINDOW) == 0.5


def test_the_first_interrupt_stops_the_second_hurries() -> None:
    interrupts = Interrupts()
    interrupts.check()
    interrupts._count(2, None)
    with pytest.raises(Stopped):
        interrupts.check()
    assert not interrupts.in_a_hurry()
    interrupts._count(2, None)
    assert interrupts.in_a_hurry()


def test_a_record_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.json"
    written = Record(7, "99", 8001, ready=True, phase="Up", children={"AWS emulator": Member(8, "100")})
    record.write(path, written)
    assert record.read(path) == written


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', '{"children": {}, "surprise": 1}'])
def test_a_record_of_nothing_we_know_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "supervisor.json"
    path.write_text(text)
    assert record.read(path) is None


def test_one_supervisor_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not record.is_held(lock)
    with record.holding(lock):
        assert record.is_held(lock)
        with pytest.raises(StackError, match="make stop"), record.holding(lock):
            pass
    assert not record.is_held(lock)


def test_a_process_is_told_from_another_with_its_number() -> None:
    mine = identity(os.getpid())
    assert mine is not None
    assert identity(os.getpid()) == mine
    assert identity(1) != mine
    assert identity(2**22 + 1) is None


def test_the_providers_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "provider-token"
    token = programs.provider_token(path)
    assert token.startswith("r8_")
    assert len(token) == 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert programs.provider_token(path) == token
    path.write_text("spoiled")
    assert programs.provider_token(path) not in {token, "spoiled"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "chalicelib").mkdir()
    (tmp_path / "chalicelib" / "x.py").write_text("1")
    layout = Layout(tmp_path)
    layout.prepare()
    return layout


def test_the_state_is_private(layout: Layout) -> None:
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (layout.run, layout.state)} == {0o700}


def test_a_deployment_is_known_again_until_code_or_port_change(layout: Layout) -> None:
    ports = Ports(8001)
    layout.deployed.write_text(fingerprint(layout.root, ports))
    assert not is_deployed(layout, ports)
    layout.stack_file.write_text("{}")
    assert is_deployed(layout, ports)
    assert not is_deployed(layout, Ports(8011))
    (layout.root / "chalicelib" / "x.py").write_text("2")
    assert not is_deployed(layout, ports)


def test_the_deployment_gets_no_secret_as_argument_and_no_aws_settings(layout: Layout) -> None:
    token = programs.provider_token(layout.provider_token)
    assert token not in " ".join(command(layout, Ports(8001)))
    seen = environment({"PATH": "/bin", "AWS_PROFILE": "work", "REPLICATE_API_TOKEN": "r8_real"})
    assert seen["PATH"] == "/bin"
    assert not {"AWS_PROFILE", "REPLICATE_API_TOKEN"} & seen.keys()
    assert seen["AWS_CONFIG_FILE"] == os.devnull


@pytest.mark.parametrize("port", [8001, 8011])
def test_the_announcement_names_every_address(port: int) -> None:
    text = announcement(Ports(port), detached=False)
    for address in (f"http://localhost:{port}", f"127.0.0.1:{port + 1}", f"127.0.0.1:{port + 2}", "curl ", "Ctrl-C"):
        assert address in text
    assert ("export STCLOUD_URL" in text) == (port != 8001)
    assert "stcloud login" not in text
    signed = announcement(Ports(port), detached=False, people=True)
    assert f"stcloud login --url http://localhost:{port}\n" in signed
    assert "curl" not in signed
    assert "make stop" in announcement(Ports(port), detached=True)
    assert "terminal it was started in" in announcement(Ports(port), detached=False, elsewhere=True)
    assert "terminal it was started in" not in announcement(Ports(port), detached=True, elsewhere=True)


def test_a_log_is_followed_over_its_replacement(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    follower = FileFollower(log)
    assert follower.new_lines() == []
    log.write_text("one\ntwo\nthr")
    assert follower.new_lines() == ["one", "two"]
    with log.open("a") as file:
        file.write("ee\n")
    assert follower.new_lines() == ["three"]
    log.rename(tmp_path / "x.log.1")
    log.write_text("anew\n")
    assert follower.new_lines() == ["anew"]


def test_following_begins_with_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"{n}\n" for n in range(100)))
    follower = FileFollower(log)
    follower.skip_to_last(2)
    assert follower.new_lines() == ["98", "99"]


class FakeLogs:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def describe_log_groups(self, **_: Any) -> dict[str, Any]:
        return {"logGroups": [{"logGroupName": "/aws/lambda/stcloud-local-sweep"}]}

    def filter_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": self.events}

    def add(self, number: int, message: str) -> None:
        self.events.append({"eventId": str(number), "logStreamName": "s", "timestamp": -number, "message": message})


def test_lambda_lines_come_once_in_order_without_the_platforms_own() -> None:
    logs = FakeLogs()
    follower = LambdaFollower(logs, 0)
    logs.add(1, "later\n")
    logs.add(2, "earlier")
    logs.add(3, "START RequestId: x Version: $LATEST")
    assert follower.new_lines() == ["stcloud-local-sweep: earlier", "stcloud-local-sweep: later"]
    logs.add(4, "new")
    assert follower.new_lines() == ["stcloud-local-sweep: new"]


def test_following_ends_when_told_and_names_each_source() -> None:
    said: list[str] = []
    turns = iter([True, False])
    batches: dict[str, Callable[[], list[str]]] = {"a": lambda: ["x"], "long": list}
    follow(batches, said.append, go_on=lambda: next(turns), pause=lambda _: None)
    assert said == ["a    | x", "a    | x"]


def test_a_log_that_grew_large_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    rotate(log)
    log.write_bytes(b"x" * 5_000_001)
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "logs" / "x.log.1").exists()
    assert "no log" in tail(log)


def test_the_end_of_the_parent_is_a_request_to_stop() -> None:
    Interrupts(parent=os.getppid()).check()
    with pytest.raises(Stopped):
        Interrupts(parent=os.getpid()).check()
