"""The demo's job over a scripted command line, and its own look into the weights."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.demo.__main__ import parse
from local.demo.errors import DemoError, DemoSkippedError
from local.demo.model import read_weights
from local.demo.run import CONFIG_NAME, DATASET_ID, config, run_demo, summary
from local.demo.shell import who_of
from tests.fakes.world import safetensors


def weights_file(values: list[float], *, name: str = "layer.lora_A.weight") -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        name: {"dtype": "F32", "shape": [1, len(values)], "data_offsets": [0, 4 * len(values)]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values)


@dataclass
class FakeShell:
    """Answers as stcloud does; ``weights`` is what a pull leaves."""

    sandbox: bool = True
    verified: bool = True
    weights: bytes = field(default_factory=lambda: weights_file([0.5, -0.25]))
    named: str | None = None
    health: str = "healthy"
    caller: dict[str, str] | None = field(
        default_factory=lambda: {"kind": "local", "username": "local", "role": "admin"}
    )
    ran: list[tuple[str, ...]] = field(default_factory=list)
    shown: list[tuple[str, ...]] = field(default_factory=list)

    def who(self, *, seconds: float) -> dict[str, Any] | None:
        return self.caller

    def run(self, *arguments: str, seconds: float, echo: bool = True) -> str:
        self.ran.append(arguments)
        if echo:
            self.shown.append(arguments[:2])
        command = arguments[:2]
        if arguments[0] == "status":
            return json.dumps({"status": self.health, "sandbox": self.sandbox})
        if command == ("jobs", "submit"):
            return "job1\n"
        if command == ("jobs", "get"):
            return json.dumps({"job": self.job()})
        if command == ("jobs", "pull"):
            return json.dumps(self.pull(Path(arguments[arguments.index("--to") + 1])))
        return ""

    def job(self) -> dict[str, Any]:
        return {
            "job_id": "job1",
            "status": "completed",
            "duration_seconds": 30.4,
            "cost_usd": 0.0123,
            "sandbox": self.sandbox,
            "progress": {"step": 200, "total_steps": 200, "loss": 0.1234},
        }

    def pull(self, folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True)
        path = folder / "pytorch_lora_weights.safetensors"
        path.write_bytes(self.weights)
        digest = self.named or hashlib.sha256(self.weights).hexdigest()
        files = [{"path": str(path), "size": len(self.weights), "sha256": digest, "kind": "weights", "fresh": True}]
        return {"job_id": "job1", "folder": str(folder), "verified": self.verified, "files": files}


def demo(shell: FakeShell, tmp_path: Path, *, pay: bool = False, said: list[str] | None = None) -> list[str]:
    say = (said if said is not None else []).append
    report = run_demo(
        shell,
        tmp_path / "images",
        tmp_path / "work",
        url="http://localhost:8002",
        steps=200,
        pay=pay,
        say=say,
        downloads=tmp_path / "models",
    )
    return summary(report)


def test_it_does_what_a_user_does_and_reports_what_came_back(tmp_path: Path) -> None:
    shell, said = FakeShell(), []
    lines = "\n".join(demo(shell, tmp_path, said=said))
    assert [a[:2] for a in shell.ran] == [
        ("status", "--json"),
        ("datasets", "push"),
        ("configs", "push"),
        ("jobs", "submit"),
        ("jobs", "get"),
        ("jobs", "pull"),
    ]
    assert shell.shown == [("datasets", "push"), ("configs", "push"), ("jobs", "submit"), ("jobs", "pull")]
    assert "1 tensors, 2 numbers (F32), rank 1" in lines
    assert "stcloud jobs pull job1 --kind all" in lines
    assert "completed after" not in lines, "the watch said so already"
    assert hashlib.sha256(shell.weights).hexdigest()[:16] in lines
    assert str(tmp_path / "models" / "job1" / "pytorch_lora_weights.safetensors") in lines
    assert "toy model" in said[0]
    assert "toy model" in lines
    assert "nothing is billed in the sandbox" in lines


def test_the_config_names_the_dataset_that_was_pushed(tmp_path: Path) -> None:
    shell = FakeShell()
    demo(shell, tmp_path)
    push, save, submit = shell.ran[1:4]
    assert push[2:5] == (str(tmp_path / "images"), "--id", DATASET_ID)
    assert save[2] == CONFIG_NAME
    entries = json.loads((tmp_path / "work" / "multidatabackend.json").read_text())
    assert (entries[0]["id"], entries[0]["instance_data_dir"]) == (DATASET_ID, str(tmp_path / "images"))
    assert submit[submit.index("--config-name") + 1] == CONFIG_NAME
    assert "--watch" in submit
    made = config(200)
    assert made["--max_train_steps"] % made["--checkpoint_step_interval"] == 0
    assert made["--max_train_steps"] % made["--validation_step_interval"] == 0


def test_a_stack_that_costs_money_is_not_used_unasked(tmp_path: Path) -> None:
    shell = FakeShell(sandbox=False)
    with pytest.raises(DemoError, match="--pay") as caught:
        demo(shell, tmp_path)
    assert caught.value.code == 2
    assert len(shell.ran) == 1
    said: list[str] = []
    assert "toy" not in "\n".join(demo(FakeShell(sandbox=False), tmp_path, pay=True, said=said))
    assert "billed" in said[0]


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        (FakeShell(named="0" * 64), "does not have the SHA-256"),
        (FakeShell(verified=False), "not recorded as verified"),
        (FakeShell(weights=weights_file([0.0, 0.0])), "nothing but zeros"),
        (FakeShell(weights=weights_file([0.0, math.nan])), "NaN"),
        (FakeShell(weights=b"not safetensors at all"), "no sound safetensors"),
        (FakeShell(weights=b""), "no sound safetensors"),
        (FakeShell(weights=weights_file([1.0])[:-2]), "no sound safetensors"),
        (FakeShell(health="unhealthy"), "not well"),
    ],
)
def test_what_is_not_a_trained_model_stops_the_demo(shell: FakeShell, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=reason):
        demo(shell, tmp_path)


def test_weights_are_read_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights_file([1.5], name="proj.lora_B.weight"))
    found = read_weights(path)
    assert (found.tensors, found.parameters, found.rank, found.moved) == (1, 1, None, 1)
    path.write_bytes(safetensors()[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(DemoError):
        read_weights(path)


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--steps", "999999"], ["--images", "/nonexistent/pictures"]])
def test_wrong_arguments_end_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_a_stack_with_people_is_left_alone_until_somebody_signs_in(tmp_path: Path) -> None:
    shell = FakeShell(caller=None)
    with pytest.raises(DemoSkippedError, match="sign in: stcloud login --url http://localhost:8002") as skipped:
        demo(shell, tmp_path)
    assert skipped.value.code == 0
    assert [command[0] for command in shell.ran] == ["status"]


def test_who_is_signed_in_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    demo(FakeShell(caller={"kind": "session", "username": "ada", "role": "admin"}), tmp_path, said=said)
    assert "As ada (admin)." in said


def test_what_whoami_means() -> None:
    assert who_of(0, '{"kind": "local"}') == {"kind": "local"}
    assert who_of(4, '{"error": {"status": 401, "code": "session_ended"}}') is None
    for code, text in ((4, '{"error": {"status": 403, "message": "No."}}'), (5, ""), (1, '{"error": {}}')):
        with pytest.raises(DemoError) as stopped:
            who_of(code, text)
        assert stopped.value.code == code
