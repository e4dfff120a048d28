"""Set-up: what is done again and what is not, and what people are told."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from local.setup.bootstrap import ROOT, Bootstrap, Environment
from local.setup.console import Console
from local.setup.failures import check_writable, explain, explain_os_error, unwritable
from local.setup.node import good_enough, parse_version
from local.setup.sizes import too_long
from local.setup.stamps import Stamp, digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "a.txt").write_text("a")
    (tmp_path / "src" / "deep" / "b.txt").write_text("b")
    return tmp_path


def test_the_digest_follows_contents_names_and_extras(tree: Path) -> None:
    src = tree / "src"
    seen = {digest(tree, [src]), digest(tree, [src], "3.11")}
    (src / "a.txt").write_text("A")
    seen.add(digest(tree, [src]))
    (src / "a.txt").rename(src / "c.txt")
    seen.add(digest(tree, [src]))
    (src / "c.txt").unlink()
    seen.add(digest(tree, [src]))
    seen.add(digest(tree, [src, tree / "missing.txt"]))
    assert len(seen) == 6


def test_the_digest_does_not_follow_generated_files_or_order(tree: Path) -> None:
    a, b = tree / "src" / "a.txt", tree / "src" / "deep" / "b.txt"
    before = digest(tree, [tree / "src"])
    for name in ("node_modules", "dist", "__pycache__"):
        (tree / "src" / name).mkdir()
        (tree / "src" / name / "x.js").write_text("x")
    assert digest(tree, [tree / "src"]) == before
    assert digest(tree, [a, b]) == digest(tree, [b, a, a])


def test_a_stamp_is_there_once_written_and_gone_once_cleared(tmp_path: Path) -> None:
    stamp = Stamp(tmp_path / "deep" / "stamp")
    assert stamp.read() is None
    stamp.clear()
    stamp.write("abc")
    assert stamp.read() == "abc"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["stamp"]
    stamp.clear()
    assert stamp.read() is None


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("npm error code ENOSPC", "The disk is full"),
        ("Failed to establish a new connection: [Errno -2] Name or service not known", "can't be reached"),
        ("NewConnectionError: Failed\nERROR: No matching distribution found for ruff", "can't be reached"),
        ("npm error network request failed, reason: getaddrinfo EAI_AGAIN registry.npmjs.org", "can't be reached"),
        ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("ERROR: Could not install packages: [Errno 13] Permission denied: '/x'", "chown"),
        ("error: command 'gcc' failed: No such file or directory\nFailed building wheel for x", "build-essential"),
        ("The virtual environment was not created because ensurepip is not available.", "sudo apt install python3."),
        ("ERROR: Package 'x' requires a different Python: 3.9.1", "PYTHON=python3.12"),
    ],
)
def test_known_failures_come_with_advice(output: str, advice: str) -> None:
    text = str(explain("Installing", output, "/logs/setup.log"))
    assert text.startswith("Installing failed.")
    assert advice in text
    assert text.count("\n") == 2, "one line of the output and the name of the log"
    assert text.splitlines()[1].strip() in output
    assert "{version}" not in text


def test_one_line_of_the_noise_is_shown_and_not_longer_than_a_terminal() -> None:
    retry = (
        "WARNING: Retrying (Retry(total=2)) after " + "x" * 200 + "[Errno -2] Name or service not known')': /simple/"
    )
    output = "\n".join([f"{retry}{n}/" for n in range(5)] + ["ERROR: No matching distribution found for ruff"])
    advice, line, log = str(explain("Installing", output, "/logs/setup.log")).splitlines()
    assert "can't be reached" in advice
    assert line.strip().startswith("…")
    assert "Name or service not known')': /simple/4/" in line
    assert len(line) <= 170
    assert log.strip() == "(all: /logs/setup.log)"


def test_unknown_failures_show_the_last_lines_and_the_log() -> None:
    output = "\n".join(f"line {n}" for n in range(50))
    text = str(explain("Building", output, "/logs/setup.log"))
    assert "line 49" in text
    assert "line 30" not in text
    assert "/logs/setup.log" in text


def test_our_own_file_errors_are_explained_the_same_way() -> None:
    assert "The disk is full" in str(explain_os_error("Writing", OSError(28, "No space left on device")))
    assert "chown" in str(explain_os_error("Writing", PermissionError(13, "Permission denied")))
    assert "read-only" in str(explain_os_error("Writing", OSError(30, "Read-only file system", "/project/x")))
    odd = str(explain_os_error("Writing", OSError(20, "Not a directory", "/project/x")))
    assert odd == "Writing failed: Not a directory (/project/x)."
    for number in (13, 20, 28, 30):
        assert "Errno" not in str(explain_os_error("Writing", OSError(number, os.strerror(number), "/project/x")))


@pytest.mark.parametrize("mounted", [True, False])
def test_a_folder_that_takes_no_writes_is_said_with_a_way_out(mounted: bool) -> None:
    text = str(unwritable(Path("/shared/my project"), Path("/shared/my project"), mounted=mounted))
    assert text.startswith("This folder can't be written: /shared/my project (")
    assert "cp -R '/shared/my project' ~/simpletuner-cloud" in text
    assert ("read-only" in text) == mounted
    assert ("chown" in text) != mounted


def test_a_folder_that_can_be_written_is_no_trouble(tmp_path: Path) -> None:
    check_writable(tmp_path)
    (tmp_path / ".local").mkdir()
    check_writable(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path) -> Bootstrap:
    (tmp_path / "local" / "emulator").mkdir(parents=True)
    for name in ("requirements.txt", "requirements-local.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text(name)
    bootstrap = Bootstrap(tmp_path, Console(io.StringIO()))
    for part in (*bootstrap.environments, bootstrap.tools):
        python = tmp_path / ".local" / part.name / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
    return bootstrap


def made(bootstrap: Bootstrap, *parts: Environment) -> None:
    for part in parts:
        bootstrap.stamp(part).write(bootstrap.digest(part))


def test_running_needs_no_developers_tools(checkout: Bootstrap) -> None:
    runs, emulator = checkout.environments
    assert checkout.missing(developer=False) == [runs, emulator]
    assert checkout.missing(developer=True) == [runs, emulator, checkout.tools]
    made(checkout, runs, emulator)
    assert checkout.missing(developer=False) == []
    assert checkout.missing(developer=True) == [checkout.tools]
    made(checkout, checkout.tools)
    assert checkout.missing(developer=True) == []


def test_a_changed_list_is_made_anew_and_nothing_else(checkout: Bootstrap, tmp_path: Path) -> None:
    runs, emulator = checkout.environments
    made(checkout, runs, emulator, checkout.tools)
    (tmp_path / "requirements-dev.txt").write_text("other tools")
    assert checkout.missing(developer=False) == []
    assert checkout.missing(developer=True) == [runs, checkout.tools], "packages of the older list must not stay"
    made(checkout, checkout.tools)
    (tmp_path / "requirements.txt").write_text("other packages")
    assert checkout.missing(developer=False) == [runs]
    made(checkout, runs)
    (tmp_path / "local" / "emulator" / "requirements.txt").write_text("another emulator")
    assert checkout.missing(developer=False) == [emulator]


def test_a_moved_checkout_is_set_up_again(checkout: Bootstrap, tmp_path: Path) -> None:
    made(checkout, *checkout.environments)
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    try:
        assert Bootstrap(moved, Console(io.StringIO())).missing(developer=False)
    finally:
        moved.rename(tmp_path)


def test_running_and_testing_have_lists_of_their_own() -> None:
    running, testing = ((ROOT / f"requirements-{name}.txt").read_text() for name in ("local", "dev"))
    assert "-r requirements-local.txt" in testing
    for tool in ("pytest", "mypy", "ruff", "cfn-lint", "schemathesis", "hypothesis"):
        assert f"\n{tool}==" in testing
        assert tool not in running.partition("-r ")[2]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        *((text, True) for text in ("v20.19.0", "v20.20.2\n", "v22.12.0", "v24.1.0", "v26.0.0")),
        *((text, False) for text in ("v18.20.1", "v20.18.0", "v21.7.0", "v22.11.0", "node", "")),
    ],
)
def test_only_a_node_that_builds_the_console_is_taken(text: str, good: bool) -> None:
    assert good_enough(parse_version(text)) is good


def test_the_console_says_one_line_per_step_whatever_comes_of_it() -> None:
    out = io.StringIO()
    console = Console(out)
    with console.step("First"):
        pass
    with pytest.raises(ValueError, match="no"), console.step("Second"):
        raise ValueError("no")
    first, second = out.getvalue().splitlines()
    assert first.split()[:2] == ["ok", "First"]
    assert second.split()[:2] == ["failed", "Second"]
    assert first.endswith(" s")


def test_long_modules_are_found(tmp_path: Path) -> None:
    short, long = tmp_path / "short.py", tmp_path / "long.py"
    short.write_text("x\n" * 5)
    long.write_text("x\n" * 6)
    assert too_long([short, long], limit=5) == [(long, 6)]
