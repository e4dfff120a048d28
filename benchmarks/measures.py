"""Time, memory and their summary."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    figure: str


def milliseconds(call: Callable[[], object], *, times: int, warm: int = 5) -> list[float]:
    """Of ``times`` calls, one after the other, after ``warm`` that don't count."""
    taken = []
    for n in range(warm + times):
        began = time.perf_counter()
        call()
        if n >= warm:
            taken.append(1000 * (time.perf_counter() - began))
    return taken


def summary(taken: Sequence[float]) -> str:
    """Median, 95th percentile and worst of milliseconds."""
    ordered = sorted(taken)
    high = ordered[max(0, math.ceil(0.95 * len(ordered)) - 1)]
    return f"median {statistics.median(ordered):.0f} ms, p95 {high:.0f} ms, worst {ordered[-1]:.0f} ms"


def at_once(call: Callable[[int], object], *, times: int, clients: int) -> float:
    """Calls a second when ``clients`` of them run at once. Raises what a call raises."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(call, range(times)))
    return times / (time.perf_counter() - began)


@dataclass(frozen=True)
class Run:
    """A finished program: ``peak_bytes`` is the most memory it held at once."""

    seconds: float
    peak_bytes: int


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Runs a program that must succeed. Raises RuntimeError with what it said."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode(errors='replace')}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(time.perf_counter() - began, usage.ru_maxrss * unit)
