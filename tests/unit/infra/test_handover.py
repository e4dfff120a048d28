"""How setup code and deploy token reach the operator: by their eyes, or by a file that is theirs alone."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.deploy import outputs_of
from infra.errors import DeployError
from infra.handover import report
from infra.options import DeployOptions, StackOutputs
from infra.session import ahead_of

OPTIONS = DeployOptions(stage="test")
CODE, TOKEN = "setup_" + "c" * 32, "stc_" + "t" * 43


def outputs() -> StackOutputs:
    names = ["PublicUrl", "RestAPIId", "DistributionId", "DistributionDomain", "DatasetsBucket", "OutputsBucket"]
    names += ["WebBucket", "JobsTable", "KeysTable", "AuditTable", "UserPoolId", "UserPoolClientId", "StateMachineArn"]
    found = {name: f"https://{name}" for name in names}
    return outputs_of(OPTIONS, found, changed=True, deploy_token=TOKEN, setup_code=CODE)


def test_on_a_terminal_they_are_shown_and_kept_nowhere(tmp_path: Path) -> None:
    text = "\n".join(report(outputs(), OPTIONS, terminal=True, folder=tmp_path / "secrets"))
    assert CODE in text
    assert TOKEN in text
    assert not (tmp_path / "secrets").exists()


def test_in_a_log_there_is_only_where_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    open_to_all = folder / "stcloud-test-setup-code"
    open_to_all.write_text("old")
    open_to_all.chmod(0o644)
    (folder / "stcloud-test-deploy-token").symlink_to(tmp_path / "elsewhere")
    text = "\n".join(report(outputs(), OPTIONS, terminal=False, folder=folder))
    assert CODE not in text
    assert TOKEN not in text
    for name, secret in (("setup-code", CODE), ("deploy-token", TOKEN)):
        path = folder / f"stcloud-test-{name}"
        assert str(path) in text
        assert path.read_text() == secret + "\n"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_folder_is_closed_to_others(tmp_path: Path) -> None:
    report(outputs(), OPTIONS, terminal=False, folder=tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_a_file_that_can_not_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("no folder")
    with pytest.raises(DeployError, match="--secrets-dir") as refused:
        report(outputs(), OPTIONS, terminal=False, folder=tmp_path / "secrets")
    assert CODE not in str(refused.value)


def test_of_a_replaced_one_it_is_said_how_long_the_one_before_works(tmp_path: Path) -> None:
    def text(**changes: bool) -> str:
        return "\n".join(report(outputs(), replace(OPTIONS, **changes), terminal=True, folder=tmp_path))

    assert "up to a minute" not in text()
    assert text(new_setup_code=True).count("The one before works for up to a minute more.") == 1
    assert text(new_setup_code=True, rotate_deploy_token=True).count("up to a minute") == 2


def test_without_secrets_there_is_only_the_address(tmp_path: Path) -> None:
    without = replace(outputs(), setup_code=None, deploy_token=None)
    assert report(without, OPTIONS, terminal=False, folder=tmp_path) == ["", "Served at https://PublicUrl"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Tue, 24 Nov 2026 12:00:00 GMT", 0),
        ("Tue, 24 Nov 2026 12:00:01 GMT", 0),
        ("Tue, 24 Nov 2026 11:57:00 GMT", 180),
        ("Tue, 24 Nov 2026 12:03:00 GMT", -180),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_a_clock_that_is_wrong_is_known_by_the_answers_of_aws(date: str, ahead: int) -> None:
    assert ahead_of(date, datetime(2026, 11, 24, 12, tzinfo=UTC)) == timedelta(seconds=ahead)
