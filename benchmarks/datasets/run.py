"""``python -m benchmarks.datasets.run``: the first push, a second one after a change, and memory; prints a table.

Beside each other, on the same local stack of its own: ``stcloud datasets push``, ``aws s3 cp --recursive``, and a zip
with one presigned PUT. Taking turns, each with the same files, new ones each round; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
from botocore.config import Config

from benchmarks.measures import Line, run
from tests.support.emulator import free_port
from tests.support.stack import Stack, running_stack

ROOT = Path(__file__).resolve().parents[2]
STCLOUD = (sys.executable, "-m", "stcloud")
HEAD = b"\xff\xd8\xff\xe0"
READY_SECONDS = 10.0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets.run", description=__doc__)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--size", type=int, default=250_000, help="bytes of each file")
    parser.add_argument("--rounds", type=int, default=3, help="a multiple of 3, so that each goes first as often")
    parser.add_argument("--many", type=int, default=100_000, help="tiny files for the memory measurement")
    parser.add_argument("--only-memory", action="store_true")
    parser.add_argument("--aws", help="an `aws` program; without it, one is put into an environment of its own")
    args = parser.parse_args(argv)
    if min(args.files, args.size, args.rounds, args.many) < 1:
        parser.error("--files, --size, --rounds and --many must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="stcloud-benchmark-") as name:
        folder = Path(name)
        for line in measured(args, folder):
            print(f"{line.what:<64}{line.figure}", flush=True)
    return 0


def measured(args: argparse.Namespace, folder: Path) -> Iterator[Line]:
    if not args.only_memory:
        aws = args.aws or _aws_program(folder / "awscli")
        with running_stack(folder / "stack") as stack:
            yield from _first_pushes(stack, folder, args, aws)
            yield from _second_push(stack, folder, args)
    yield from _memory(folder, args.many)


# --- the first push ---------------------------------------------------------------------------------------------------
def _first_pushes(stack: Stack, folder: Path, args: argparse.Namespace, aws: str) -> Iterator[Line]:
    s3 = _Storage(stack, aws)
    ways: dict[str, Callable[[Path, int], float]] = {
        "stcloud datasets push": lambda files, n: _push(stack, files, f"round-{n}", folder / f"cache-{n}").seconds,
        "aws s3 cp --recursive": s3.copy,
        "zip and one presigned PUT": s3.zip_and_put,
    }
    warm = folder / "warm"
    fill(warm, 10, 1000, seed=-1)
    _push(stack, warm, "warm", folder / "cache-warm")
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(args.rounds):
        files = folder / f"files-{number}"
        fill(files, args.files, args.size, seed=number)
        order = list(ways)
        for way in order[number % len(order) :] + order[: number % len(order)]:
            os.sync()  # what was written before must not be written to the disk during this measurement
            seconds = ways[way](files, number)
            taken[way].append(seconds)
            print(f"  round {number + 1}: {way} {seconds:.1f} s", file=sys.stderr, flush=True)
        s3.clear()
        if number < args.rounds - 1:
            shutil.rmtree(files)
    total = args.files * args.size
    for way, seconds in taken.items():
        median = statistics.median(seconds)
        rounds = ", ".join(f"{s:.1f}" for s in seconds)
        yield Line(
            f"{way}, {args.files:,} × {args.size // 1000} kB", f"{median:.1f} s ({rounds}), {_rate(total, median)}"
        )
    ours, theirs, zipped = (statistics.median(taken[way]) for way in ways)
    yield Line("aws s3 cp / stcloud", f"{theirs / ours:.2f}")
    yield Line("zip and PUT / stcloud", f"{zipped / ours:.2f}")


def _second_push(stack: Stack, folder: Path, args: argparse.Namespace) -> Iterator[Line]:
    number = args.rounds - 1
    files = folder / f"files-{number}"
    changed = sorted(files.iterdir())[:: max(1, args.files // max(1, args.files // 100))]
    rng = random.Random(99)
    for file in changed:
        file.write_bytes(HEAD + rng.randbytes(args.size - len(HEAD)))
    again = _push(stack, files, f"round-{number}", folder / f"cache-{number}")
    total = args.files * args.size
    # The list of all files is sent too: its lines hold a path, a size and a SHA-256.
    listed = sum(len(json.dumps({"path": p.name, "size": 0, "sha256": "0" * 64})) + 6 for p in files.iterdir())
    moved = again.data["uploaded_bytes"] + listed
    yield Line(
        f"again after {len(changed):,} of {args.files:,} files changed",
        f"{again.seconds:.1f} s, {moved / 1e6:.1f} MB moved ({100 * moved / total:.2f} %), "
        f"{again.data['copied_files']:,} copied inside S3",
    )
    same = _push(stack, files, f"round-{number}", folder / f"cache-{number}")
    yield Line("again, nothing changed", f"{same.seconds:.1f} s, {same.data['uploaded_bytes']} B of files moved")


# --- memory -----------------------------------------------------------------------------------------------------------
def _memory(folder: Path, many: int) -> Iterator[Line]:
    files = folder / "many"
    for n in range(many):
        path = files / f"{n % 100:02}" / f"picture-{n:06}.jpg"
        if n < 100:
            path.parent.mkdir(parents=True)
        path.write_bytes(HEAD + n.to_bytes(4))
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.datasets.yes_server", str(port)], cwd=ROOT) as server:
        try:
            _wait(port)
            environment = _environment(f"http://127.0.0.1:{port}", folder / "cache-many")
            command = [*STCLOUD, "datasets", "push", str(files), "--id", "many", "--yes", "--quiet"]
            first = run(command, environment)
            yield Line(
                f"push of {many:,} tiny files to a server that does nothing",
                f"{first.seconds:.0f} s, {first.peak_bytes / 1e6:.0f} MB of memory at most",
            )
        finally:
            server.terminate()


def _wait(port: int) -> None:
    ends = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


# --- the three ways ---------------------------------------------------------------------------------------------------
class Pushed:
    def __init__(self, seconds: float, data: dict[str, int]) -> None:
        self.seconds, self.data = seconds, data


def _push(stack: Stack, files: Path, name: str, cache: Path) -> Pushed:
    began = time.perf_counter()
    said = _stcloud(stack, "datasets", "push", str(files), "--id", name, "--yes", "--json", "--quiet", cache=cache)
    return Pushed(time.perf_counter() - began, json.loads(said))


def _stcloud(stack: Stack, *args: str, cache: Path | None = None) -> bytes:
    done = subprocess.run([*STCLOUD, *args], env=_environment(stack.url, cache), capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"stcloud {' '.join(args)}: {done.stderr.decode()}")
    return done.stdout


def _environment(url: str, cache: Path | None) -> dict[str, str]:
    more = {"XDG_CACHE_HOME": str(cache)} if cache else {}
    return {**os.environ, "PYTHONPATH": str(ROOT / "cli"), "STCLOUD_URL": url, "STCLOUD_KEYRING": "off", **more}


class _Storage:
    """The same bucket in the same emulator, as others fill it."""

    def __init__(self, stack: Stack, aws: str) -> None:
        self._aws = aws
        self._url = str(stack.facts["emulator_url"])
        self._bucket = str(stack.facts["datasets_bucket"])
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        config = Config(signature_version="s3v4", proxies={})
        self._s3 = boto3.client("s3", endpoint_url=self._url, config=config, **keys)

    def copy(self, files: Path, number: int) -> float:
        target = f"s3://{self._bucket}/_benchmark/{number}/"
        command = [self._aws, "s3", "cp", "--recursive", "--only-show-errors", "--endpoint-url", self._url]
        nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        return run([*command, str(files), target], {**os.environ, **nowhere, **keys}).seconds

    def zip_and_put(self, files: Path, number: int) -> float:
        archive = files.with_suffix(".zip")
        name = {"Bucket": self._bucket, "Key": f"_benchmark/{number}.zip"}
        url = self._s3.generate_presigned_url("put_object", Params=name, ExpiresIn=3600)
        began = time.perf_counter()
        zipper = shutil.which("zip")
        command = [zipper, "-q", "-r"] if zipper else [sys.executable, "-m", "zipfile", "-c"]
        run([*command, str(archive), str(files)], dict(os.environ))
        with archive.open("rb") as opened:
            size = str(archive.stat().st_size)
            answer = httpx.put(url, content=opened, headers={"content-length": size}, timeout=600, trust_env=False)
        answer.raise_for_status()
        archive.unlink()
        return time.perf_counter() - began

    def clear(self) -> None:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix="_benchmark/"):
            keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
            if keys:
                self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": keys})


def fill(folder: Path, files: int, size: int, *, seed: int) -> None:
    """Files that begin like JPEGs and hold what no other round's hold."""
    folder.mkdir()
    rng = random.Random(seed)
    for n in range(files):
        (folder / f"picture-{n:05}.jpg").write_bytes(HEAD + rng.randbytes(size - len(HEAD)))


def _aws_program(folder: Path) -> str:
    """``aws`` from the package index in a throw-away environment."""
    venv.create(folder, with_pip=True)
    run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "awscli"], dict(os.environ))
    return str(folder / "bin" / "aws")


def _rate(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e6:.0f} MB/s"


if __name__ == "__main__":
    sys.exit(main())
