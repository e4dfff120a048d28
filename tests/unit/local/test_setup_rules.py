"""Set-up: what is done again and what is not, and what people are told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from local.setup.console import Console
from local.setup.failures import explain, explain_os_error
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
    assert output.splitlines()[-1] in text
    assert "{version}" not in text


def test_unknown_failures_show_the_last_lines_and_the_log() -> None:
    output = "\n".join(f"line {n}" for n in range(50))
    text = str(explain("Building", output, "/logs/setup.log"))
    assert "line 49" in text
    assert "line 30" not in text
    assert "/logs/setup.log" in text


def test_our_own_file_errors_are_explained_the_same_way() -> None:
    assert "The disk is full" in str(explain_os_error("Writing", OSError(28, "No space left on device")))
    assert "chown" in str(explain_os_error("Writing", PermissionError(13, "Permission denied")))


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
