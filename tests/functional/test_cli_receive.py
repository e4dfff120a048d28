"""``stcloud receive``: from the stack's event over loopback to verified files and a receipt, and what goes wrong."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stcloud.signing import key_of, sign

from chalicelib.delivery.safe_http import safe_client
from chalicelib.delivery.webhook import WebhookTarget
from chalicelib.domain.credentials import CredentialKind, WebhookSecret
from chalicelib.domain.deliveries import DeliveryState
from chalicelib.domain.destinations import WebhookDestination
from chalicelib.services.credentials import find_credential, load_secret
from chalicelib.workflow.delivering import deliver_step
from tests.fakes.world import OWNER, World
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import Cli, Ran
from tests.support.deliveries import FILES, begin, completed_job, deliver, delivery_of, with_credentials

WEIGHTS = FILES["checkpoint-200/pytorch_lora_weights.safetensors"]
NAMES = {"pytorch_lora_weights.safetensors", "samples/one.png", "samples/two.png", "manifest.json"}


@dataclass
class Bench:
    """A stack whose only destination is this computer."""

    server: CliServer
    cli: Cli
    port: int
    secret: str
    running: list[Listening] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.server.world

    def send(self, files: dict[str, bytes] | None = None) -> None:
        completed_job(self.world, files=files)
        begin(self.world, self.world.job("job1"), WebhookDestination(url=f"http://127.0.0.1:{self.port}/in"))
        self.world.settle()

    def post(self, body: bytes, headers: dict[str, str] | None = None, method: str = "POST") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, "/in", body, headers or {})
        answer = connection.getresponse()
        document = json.loads(answer.read() or b"null")
        connection.close()
        return answer.status, document

    def signed(self, document: Any, *, late: int = 0, message_id: str = "m1") -> tuple[bytes, dict[str, str]]:
        body = json.dumps(document).encode()
        key = key_of(self.secret)
        assert key is not None
        at = self.world.clock.now() - timedelta(seconds=late)
        return body, sign(body, message_id=message_id, at=at, key=key)

    def listen(self, *args: str) -> Listening:
        listening = Listening(self, args)
        self.running.append(listening)
        return listening


class Listening:
    """``stcloud receive --once`` in a thread; ``result`` waits for its end."""

    def __init__(self, bench: Bench, args: tuple[str, ...]) -> None:
        self._ran: Ran | None = None
        self._bench = bench

        def run() -> None:
            now = bench.world.clock.now
            self._ran = bench.cli.run("receive", "--port", str(bench.port), "--once", "--json", *args, now=now)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", bench.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("it does not listen")

    def result(self) -> Ran:
        self._thread.join(20)
        assert self._ran is not None, "it does not end"
        return self._ran


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    world = with_credentials(World())
    ports = world.ports = replace(
        world.ports,
        targets=lambda destination, secret: WebhookTarget(
            destination,
            secret,
            client=safe_client(allow_private=True),
            public_url=lambda: server.url,
            now=world.clock.now,
        ),
    )
    world.delivery_runner.step = lambda event: deliver_step(event, ports)
    secret = load_secret(ports, find_credential(ports, OWNER, CredentialKind.WEBHOOK, None))
    assert isinstance(secret, WebhookSecret)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with cli_server(world) as server:
        presign = world.outputs.presign_get
        world.outputs.presign_get = lambda *args, **kw: presign(*args, **kw).replace(  # type: ignore[method-assign]
            "fake://", f"{server.url}/storage/"
        )
        text = secret.secrets[0].get_secret_value()
        cli = Cli(server.url, tmp_path / "home", [], environ={"STCLOUD_WEBHOOK_SECRET": text})
        yield Bench(server, cli, port, text)


def saved(bench: Bench) -> dict[str, bytes]:
    folder = bench.cli.home / ".simpletuner" / "cloud_outputs" / "job1"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pending(bench: Bench) -> list[Path]:
    return list((bench.cli.home / ".simpletuner" / "cloud_outputs" / ".stcloud" / "pending").glob("*"))


def test_a_model_comes_by_itself_and_the_delivery_is_confirmed(bench: Bench) -> None:
    listening = bench.listen()
    bench.send()
    ran = listening.result()
    assert ran.code == 0, ran.err
    assert set(saved(bench)) == NAMES
    assert saved(bench)["pytorch_lora_weights.safetensors"] == WEIGHTS
    line = ran.lines()[-1]
    assert (line["type"], line["job_id"], line["files"]) == ("saved", "job1", 4)
    assert pending(bench) == []
    deliver(bench.world, 120)
    delivery = delivery_of(bench.world)
    assert (delivery.state, delivery.result["confirmed"]) == (DeliveryState.VERIFIED, True)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET /storage/outputs/.*safetensors", cut=100),
        Fault("GET /storage/outputs/.*safetensors", drop=True),
        Fault("GET /storage/outputs/.*safetensors", status=503),
        Fault("GET /storage/outputs/.*safetensors", status=403),
        Fault("POST .*/receipt", drop=True),
        Fault("POST .*/receipt", drop=True, after=True),
        Fault("POST .*/receipt", status=503, times=2),
    ],
    ids=lambda f: f"{f.pattern[-12:]}-{f.status or f.cut or 'drop'}-{f.after}",
)
def test_what_breaks_on_the_way_is_gone_on_with(bench: Bench, fault: Fault) -> None:
    bench.server.faults.append(fault)
    listening = bench.listen()
    bench.send()
    assert listening.result().code == 0
    assert saved(bench)["pytorch_lora_weights.safetensors"] == WEIGHTS
    deliver(bench.world, 120)
    assert delivery_of(bench.world).result["confirmed"] is True


def test_a_model_that_cannot_be_saved_is_sent_again_and_then_saved(bench: Bench) -> None:
    bench.server.faults.append(Fault("GET /storage/outputs/.*safetensors", status=404))
    listening = bench.listen()
    bench.send()
    ran = listening.result()
    assert ran.code == 4
    assert "sends it again" in ran.err
    deliver(bench.world, 30)
    problem = delivery_of(bench.world).problem
    assert problem is not None
    assert "could not save" in problem.message
    again = bench.listen()
    deliver(bench.world, 60)
    assert again.result().code == 0
    deliver(bench.world, 600)
    assert delivery_of(bench.world).result["confirmed"] is True


def test_a_stop_in_the_middle_is_gone_on_with_at_the_next_start(bench: Bench) -> None:
    bench.server.faults.append(Fault("POST .*/receipt", status=503, times=5))
    listening = bench.listen()
    bench.send()
    assert listening.result().code == 4
    assert len(pending(bench)) == 1
    assert oct(os.stat(pending(bench)[0]).st_mode & 0o777) == "0o600"
    again = bench.listen()
    assert again.result().code == 0
    assert pending(bench) == []
    deliver(bench.world, 120)
    assert delivery_of(bench.world).result["confirmed"] is True


def test_damaged_files_are_replaced(bench: Bench) -> None:
    folder = bench.cli.home / ".simpletuner" / "cloud_outputs" / "job1"
    folder.mkdir(parents=True)
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"\0" * len(WEIGHTS))
    (folder / "samples").mkdir()
    (folder / "samples" / "one.png").write_bytes(FILES["validation_images/one.png"])
    listening = bench.listen()
    bench.send()
    assert listening.result().code == 0
    assert saved(bench)["pytorch_lora_weights.safetensors"] == WEIGHTS
    assert bench.server.count("GET /storage/outputs/.*one.png") == 0


def test_only_signed_fresh_messages_are_believed(bench: Bench) -> None:
    listening = bench.listen()
    ping = {"type": "ping", "data": {}}
    body, headers = bench.signed(ping)
    assert bench.post(body, headers) == (200, {"ok": True})
    assert bench.post(body)[0] == 401
    assert bench.post(body + b" ", headers)[0] == 401
    assert bench.post(body, {**headers, "webhook-id": "other"})[0] == 401
    assert bench.post(*bench.signed(ping, late=301))[0] == 401
    assert bench.post(*bench.signed(ping, late=-301))[0] == 401
    assert bench.post(*bench.signed([]))[0] == 400
    assert bench.post(*bench.signed({"type": "model.ready", "data": {}}))[0] == 400
    assert bench.post(*bench.signed({"type": "later"})) == (200, {"ignored": True})
    assert bench.post(b"", method="GET")[0] == 200
    assert bench.post(b"", {"content-length": str(9 * 1024 * 1024)})[0] == 413
    bench.send()
    assert listening.result().code == 0


def event(bench: Bench, path: str, **data: Any) -> dict[str, Any]:
    file = {"path": path, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest(), "url": f"{bench.server.url}/storage/x"}
    about = {
        "job_id": "job1",
        "delivery_id": "d-job1-001",
        "files": [file],
        "next": None,
        "total_files": 1,
        "total_bytes": 1,
        "links_url": f"{bench.server.url}/api/links",
        "receipt_url": f"{bench.server.url}/api/receipt",
    }
    return {"type": "model.ready", "data": {**about, **data}}


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", "a//evil", "", ".", "a\0evil"])
def test_no_file_leaves_the_folder(bench: Bench, path: str) -> None:
    bench.server.faults.append(Fault("POST /api/receipt", status=200, times=9))
    listening = bench.listen()
    assert bench.post(*bench.signed(event(bench, path)))[0] == 202
    assert listening.result().code == 4
    assert bench.server.count("GET /storage") == 0
    assert saved(bench) == {}


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "", "x" * 300])
def test_no_id_leaves_the_folder(bench: Bench, name: str) -> None:
    listening = bench.listen()
    assert bench.post(*bench.signed(event(bench, "x", job_id=name)))[0] == 400
    assert bench.post(*bench.signed(event(bench, "x", delivery_id=name), message_id="m2"))[0] == 400
    assert pending(bench) == []
    bench.send()
    assert listening.result().code == 0


def test_without_a_usable_secret_it_says_where_that_comes_from(bench: Bench) -> None:
    bench.cli.environ["STCLOUD_WEBHOOK_SECRET"] = ""
    ran = bench.cli.run("receive", "--port", str(bench.port))
    assert ran.code == 2
    assert "stcloud credentials add" in ran.err
    bench.cli.environ["STCLOUD_WEBHOOK_SECRET"] = "whsec_short"
    assert bench.cli.run("receive", "--port", str(bench.port)).code == 2
    ran = bench.cli.run("receive", "--secret-stdin", answer="nonsense\n")
    assert ran.code == 2
    assert "nonsense" not in ran.err


def test_a_port_in_use_is_told(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", bench.port))
        taken.listen()
        ran = bench.cli.run("receive", "--port", str(bench.port))
    assert ran.code == 1
    assert "--port" in ran.err


def test_many_files_come_by_pages(bench: Bench) -> None:
    listening = bench.listen()
    bench.send({**FILES, **{f"validation_images/{n:03d}.png": str(n).encode() for n in range(230)}})
    ran = listening.result()
    assert ran.code == 0, ran.err
    assert len(saved(bench)) == 234
    assert bench.server.count("POST .*/links") == 1


def test_watch_and_pull_after_it(bench: Bench) -> None:
    completed_job(bench.world)
    ran = bench.cli.run("jobs", "watch", "job1", "--download")
    assert ran.code == 0, ran.err
    assert saved(bench)["checkpoint-200/pytorch_lora_weights.safetensors"] == WEIGHTS
    lines = bench.cli.run("jobs", "watch", "job1", "--download", "--json").lines()
    assert (lines[-1]["type"], lines[-1]["files"][0]["fresh"]) == ("downloaded", False)


def test_pulling_what_has_left_escrow_says_when(bench: Bench) -> None:
    job = completed_job(bench.world)
    bench.world.jobs.save(
        job.annotated(now=bench.world.clock.now(), escrow_days=3, escrow_removed_at=bench.world.clock.now())
    )
    ran = bench.cli.run("jobs", "pull", "job1", "--json")
    assert ran.code == 4
    assert ran.json()["error"]["code"] == "escrow_gone"
    assert "3 days" in ran.err


def test_how_long_files_are_kept_is_set_and_shown(bench: Bench) -> None:
    cli = bench.cli
    assert "without an end" in cli.run("jobs", "retention", "new").out
    assert "90 days" in cli.run("jobs", "retention", "new", "90").out
    assert cli.run("jobs", "retention", "new", "--json").json() == {"days": 90}
    completed_job(bench.world)
    assert "without an end" in cli.run("jobs", "retention", "job1").out
    shown = cli.run("jobs", "retention", "job1", "7").out
    assert "7 days after the end, until" in shown
    assert "kept       until" in cli.run("jobs", "get", "job1").out
    assert "without an end" in cli.run("jobs", "retention", "job1", "off").out
    assert cli.run("jobs", "retention", "job1", "soon").code == 2
    job, now = bench.world.job("job1"), bench.world.clock.now()
    bench.world.jobs.save(job.annotated(now=now, escrow_days=3, escrow_removed_at=now))
    assert "were removed on" in cli.run("jobs", "retention", "job1").out
    assert "removed" in cli.run("jobs", "get", "job1").out
    refused = cli.run("jobs", "retention", "job1", "9", "--json")
    assert (refused.code, refused.json()["error"]["code"]) == (4, "escrow_gone")
    manifest = cli.run("jobs", "manifest", "job1")
    assert "pytorch_lora_weights.safetensors" in manifest.out
    assert "verified" in manifest.out
