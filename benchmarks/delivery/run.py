"""``python -m benchmarks.delivery.run [--gigabytes 24] [--step-seconds 60]``: see README.md."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

from pydantic import SecretStr

from benchmarks.delivery.pattern import slice_of
from chalicelib.delivery.hub import HubTarget
from chalicelib.domain.credentials import HubSecret
from chalicelib.domain.delivery_ports import Budget, Shipment, ShippedFile
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.escrow import FileKind
from tests.fakes.aws import InMemoryObjectStore

KEY = "alice/job/artifacts/model.safetensors"


class Endless(InMemoryObjectStore):
    """An object of any size that lies nowhere; ``read`` counts its bytes."""

    def __init__(self, size: int) -> None:
        super().__init__("outputs")
        self.size = size
        self.read = 0

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if key != KEY:
            return super().get(key, start=start, length=length)
        count = max(0, min(self.size - start, self.size if length is None else length))
        self.read += count
        return slice_of(start, count)


def peak_mib() -> float:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=24.0)
    parser.add_argument("--step-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    size = int(arguments.gigabytes * 1000**3)
    command = [sys.executable, "-m", "benchmarks.delivery.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
        try:
            assert sink.stdout is not None
            measure(sink.stdout.readline().strip(), size, arguments.step_seconds)
        finally:
            sink.terminate()


def measure(url: str, size: int, step_seconds: float) -> None:
    escrow = Endless(size)
    shipment = Shipment(
        delivery_id="d",
        job_id="job",
        owner="alice",
        run_name="Large",
        created_at=datetime.now(UTC),
        files=(ShippedFile(KEY, "model.safetensors", size, "ab" * 32, FileKind.WEIGHTS),),
        facts={},
        escrow=escrow,
        state_prefix="alice/job/deliveries/d/",
    )
    from chalicelib.delivery import hub_send  # noqa: F401 - counted in the baseline, as in a function that has started

    baseline = peak_mib()
    print(f"{size / 1000**3:.1f} GB, steps of {step_seconds:.0f} s; {baseline:.0f} MiB before the first byte")
    state: dict[str, Any] | None = None
    begun, steps, sent = time.monotonic(), 0, False
    while True:
        steps += 1
        secret = HubSecret(token=SecretStr("hf_benchmark"))
        target = HubTarget(HubDestination(repo_id="sandbox/large"), secret, endpoint=url)
        budget = Budget(datetime.now(UTC) + timedelta(seconds=step_seconds), lambda: datetime.now(UTC))
        step = target.confirm(shipment, state or {}, budget) if sent else target.send(shipment, state, budget)
        state = json.loads(json.dumps(step.state))
        print(
            f"step {steps}: {step.bytes_done / 1000**3:6.2f} GB, {time.monotonic() - begun:5.0f} s, peak "
            f"{peak_mib() - baseline:4.0f} MiB over the baseline, state {len(json.dumps(state))} bytes",
            flush=True,
        )
        if step.done and sent:
            break
        sent = sent or step.done
    with urlopen(f"{url}/counted", timeout=10) as answer:
        counted = json.loads(answer.read())
    seconds = time.monotonic() - begun
    print(
        f"{counted['received']:,} bytes in {counted['parts']} parts arrived, {escrow.read:,} were read; "
        f"{size / seconds / 1000**2:.0f} MB a second"
    )


if __name__ == "__main__":
    main()
