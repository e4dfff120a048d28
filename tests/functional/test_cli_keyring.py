"""The keyring behind its own process: one that works, and ones that hang, ask, refuse or keep nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from stcloud.vault import KeyringUnavailableError, ProcessKeyring

SECRET = "canary-secret"
#: The part of the package ``keyring`` that is used, with entries in a folder.
WORKING = """
import os, pathlib

folder = pathlib.Path(os.environ["TEST_FOLDER"])

class Backend:
    pass

def get_keyring():
    return Backend()

def get_password(service, name):
    path = folder / f"{service}-{name}"
    return path.read_text() if path.exists() else None

def set_password(service, name, secret):
    (folder / f"{service}-{name}").write_text(secret)

def delete_password(service, name):
    (folder / f"{service}-{name}").unlink()
"""


def keyring(folder: Path, code: str, *, seconds: float = 20.0) -> ProcessKeyring:
    packages, entries = folder / "packages", folder / "entries"
    packages.mkdir()
    entries.mkdir()
    (packages / "keyring.py").write_text(code)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "TEST_FOLDER": str(entries)}
    return ProcessKeyring(seconds=seconds, environ=environ)


def test_secrets_are_kept_found_and_forgotten(tmp_path: Path) -> None:
    ring = keyring(tmp_path, WORKING)
    assert ring.get("prod") is None
    ring.set("prod", SECRET)
    assert [p.name for p in (tmp_path / "entries").iterdir()] == ["stcloud-prod"]
    assert ring.get("prod") == SECRET
    ring.delete("prod")
    ring.delete("prod")
    assert ring.get("prod") is None


def test_one_that_hangs_is_given_up_with_all_it_started(tmp_path: Path) -> None:
    hanging = WORKING + (
        "\nimport subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "(folder / 'pid').write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    ring = keyring(tmp_path, hanging, seconds=3.0)
    started = time.monotonic()
    with pytest.raises(KeyringUnavailableError, match="did not answer within 3 s"):
        ring.set("prod", SECRET)
    assert time.monotonic() - started < 20
    child = int((tmp_path / "entries" / "pid").read_text())
    deadline = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_asks_gets_no_answer_and_does_not_wait(tmp_path: Path) -> None:
    asking = WORKING + "\ndef get_password(service, name):\n    open('/dev/tty')\n"
    with pytest.raises(KeyringUnavailableError, match="refused"):
        keyring(tmp_path, asking).get("prod")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (WORKING + f"\ndef set_password(*_):\n    raise RuntimeError('{SECRET}')\n", "RuntimeError"),
        (WORKING + "\nBackend.__module__ = 'keyring.backends.fail'\n", "no safe keyring"),
        (WORKING + "\nBackend.__module__ = 'keyrings.alt.file'\n", "no safe keyring"),
        ("raise ImportError('x')", "not installed"),
        ("import os\nos._exit(3)", "no answer"),
        ("print('hello')\n" + WORKING, "no answer"),
    ],
)
def test_one_that_is_none_says_why_and_tells_no_secret(tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(KeyringUnavailableError, match=why) as caught:
        keyring(tmp_path, code).set("prod", SECRET)
    assert SECRET not in str(caught.value)
