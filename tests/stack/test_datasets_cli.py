"""``stcloud datasets`` and its curl lines against the deployed stack."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stack.test_tutorial import a_jq
from tests.support.stack import Stack
from tests.support.trainings import pictures

ROOT = Path(__file__).resolve().parents[2]
MB = 1024**2


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Terminal:
    stack: Stack
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "PYTHONPATH": str(ROOT / "cli"),
            "STCLOUD_URL": self.stack.url,
            "STCLOUD_KEYRING": "off",
        }

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stcloud", "datasets", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *args: str) -> Ran:
        with self.start(*args) as process:
            out, err = process.communicate(timeout=300)
        return Ran(process.returncode, out, err)

    def ok(self, *args: str) -> Ran:
        ran = self.run(*args)
        assert ran.code == 0, (args, ran.out, ran.err)
        return ran


@pytest.fixture
def terminal(whole_stack: Stack, tmp_path: Path) -> Iterator[Terminal]:
    yield Terminal(whole_stack, tmp_path)
    for dataset in whole_stack.ok("GET", "/cloud/datasets")["datasets"]:
        if dataset["dataset_id"].startswith("cli-"):
            whole_stack.http.delete(f"/api/cloud/datasets/{dataset['dataset_id']}")


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_dataset_from_its_first_push_to_its_end(terminal: Terminal, tmp_path: Path) -> None:
    # Nobody has pushed any of them yet: what the owner has already would be copied.
    files = {
        f"sub/{name}": data + b", of its own" * name.endswith(".txt") for name, data in pictures(40, side=67).items()
    }
    folder = folder_of(tmp_path / "photos", files)
    first = terminal.ok("push", str(folder), "--id", "cli-whole", "--yes", "--json").json()
    assert (first["uploaded_files"], first["copied_files"]) == (len(files), 0)
    changed = sorted(files)[0]
    (folder / changed).write_bytes(files[changed] + b"more")
    again = terminal.ok("push", str(folder), "--id", "cli-whole", "--yes")
    assert f"Sent 1 file ({len(files[changed]) + 4} B), {len(files) - 1} unchanged (copied inside S3)" in again.err
    second = again.out.split()[1]
    between = terminal.ok("diff", "cli-whole", first["version_id"], second)
    assert [line.split("\t")[0] for line in between.out.splitlines()] == [f"~ {changed}"]
    assert "no difference" in terminal.ok("diff", "cli-whole", str(folder)).err
    target = tmp_path / "back"
    terminal.ok("download", "cli-whole", "--to", str(target))
    assert contents(target) == contents(folder)
    assert " of " in terminal.ok("usage").out
    assert "30 days" in terminal.ok("retention", "cli-whole", "30").out
    removed = terminal.ok("delete", "cli-whole", "--yes")
    assert re.search(r"\d+ objects, .+ removed", removed.out)
    listed = terminal.stack.client("s3").list_objects_v2(
        Bucket=terminal.stack.facts["datasets_bucket"], Prefix="local/cli-whole/"
    )
    assert "Contents" not in listed


def test_killed_in_the_midst_of_a_large_file_it_goes_on_with_the_missing_parts(
    terminal: Terminal, tmp_path: Path
) -> None:
    rng = random.Random(3)
    film = b"\x00\x00\x00\x18ftypmp42" + rng.randbytes(MB) * 150
    folder = folder_of(tmp_path / "film", {"film.mp4": film, "film.txt": b"a film"})
    for _ in range(3):
        with terminal.start(
            "push", str(folder), "--id", "cli-film", "--yes", "--quiet", "--concurrency", "1"
        ) as process:
            time.sleep(rng.uniform(0.8, 2.0))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
    done = terminal.ok("push", str(folder), "--id", "cli-film", "--yes", "--json").json()
    assert done["status"] == "ready"
    target = tmp_path / "back"
    terminal.ok("download", "cli-film", "--to", str(target))
    assert (target / "film.mp4").read_bytes() == film


def test_an_archive_becomes_the_same_version_as_its_folder(terminal: Terminal, tmp_path: Path) -> None:
    files = pictures(20)
    folder = folder_of(tmp_path / "photos", files)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        for name, data in files.items():
            packed.writestr(f"photos/{name}", data)
        packed.writestr("photos/.DS_Store", "of a Mac")
    unpacked = terminal.ok("push", str(tmp_path / "photos.zip"), "--id", "cli-zip", "--yes")
    assert "photos/.DS_Store: hidden" in unpacked.err
    pushed = terminal.ok("push", str(folder), "--id", "cli-zip", "--yes")
    assert pushed.out == unpacked.out
    assert "Nothing to send" in pushed.err
    with zipfile.ZipFile(tmp_path / "photos.zip", "a") as packed:
        packed.writestr("photos/.env", "SECRET=1")
    refused = terminal.run("push", str(tmp_path / "photos.zip"), "--id", "cli-zip", "--yes")
    assert (refused.code, "photos/.env" in refused.err) == (1, True)


def test_consent_is_the_servers_to_give(terminal: Terminal, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", {"a.txt": b"a cup"})
    route = "/cloud/data-consent/setting"
    try:
        assert "--yes" in terminal.run("push", str(folder), "--id", "cli-consent").err
        terminal.stack.ok("PUT", route, json={"consent": "deny"})
        denied = terminal.run("push", str(folder), "--id", "cli-consent", "--yes")
        assert (denied.code, "never to upload" in denied.err) == (4, True)
        terminal.stack.ok("PUT", route, json={"consent": "allow"})
        terminal.ok("push", str(folder), "--id", "cli-consent")
    finally:
        terminal.stack.ok("PUT", route, json={"consent": "ask"})


def test_a_version_is_checked(terminal: Terminal, tmp_path: Path) -> None:
    files = pictures(4)
    image = next(name for name in files if name.endswith(".png"))
    folder = folder_of(tmp_path / "photos", {**files, image: files[image][: len(files[image]) // 2]})
    terminal.ok("push", str(folder), "--id", "cli-check", "--yes")
    checked = terminal.run("check", "cli-check")
    assert checked.code == 1, checked.err
    assert checked.out.startswith("ERROR")
    assert image in checked.out
    assert "ERROR" in terminal.ok("show", "cli-check").err


def test_the_curl_lines_of_the_documentation_work_as_printed(terminal: Terminal, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8").split("## With curl alone")[1]
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "jq").symlink_to(a_jq())
    odd = ("x[1].txt", "x[a-c]{d,e}.txt", "{a,b}/c d.txt", "more/drei ä.txt", 'it\'s 100% #1?&+="$HOME".txt')
    files = {**pictures(60), **{name: f"a bicycle, {n}".encode() for n, name in enumerate(odd)}}
    folder_of(tmp_path / "photos", files)
    script = "set -euo pipefail\n" + "\n".join(blocks[:3]).replace("http://localhost:8001", terminal.stack.url)
    script = script.replace("NAME=photos", "NAME=cli-curl")
    path = f"{tools}:{os.environ['PATH']}"

    def sh(lines: str) -> str:
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-c", lines],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shown = sh(script)
    assert '"status": "ready"' in shown
    assert f'"files": {len(files)}' in shown
    target = tmp_path / "back"
    terminal.ok("download", "cli-curl", "--to", str(target))
    assert contents(target) == files
    assert "Nothing to send" in terminal.ok("push", str(tmp_path / "photos"), "--id", "cli-curl", "--yes").err
    rest = sh(f"{script}\n{blocks[3]}")
    assert '"retention_days":90' in rest.replace(" ", "")
    assert '"deleted_bytes"' in rest
