"""Creating, updating and deleting a stack: what is asked of CloudFormation, and what people are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.errors import DeployError
from infra.stack import MAX_WAIT_SECONDS, Stack
from tests.unit.infra.fakes import FakeCloudFormation

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Run:
    def __init__(self, status: str | None = None) -> None:
        self.cloud = FakeCloudFormation(status)
        self.said: list[str] = []
        self.slept: list[float] = []
        self.stack = Stack(self.cloud, "stcloud-test", self.said.append, sleep=self.slept.append, clock=lambda: NOW)

    def apply(self) -> bool:
        return self.stack.apply("https://template", {"Stage": "test"}, {"app": "x"})


def event(name: str, status: str, reason: str = "") -> dict[str, object]:
    return {
        "LogicalResourceId": name,
        "ResourceType": "AWS::Some::Thing",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "Timestamp": NOW,
    }


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (None, "CREATE"),
        ("REVIEW_IN_PROGRESS", "CREATE"),
        ("CREATE_COMPLETE", "UPDATE"),
        ("UPDATE_ROLLBACK_COMPLETE", "UPDATE"),
    ],
)
def test_a_missing_stack_is_created_and_a_standing_one_updated(before: str | None, kind: str) -> None:
    run = Run(before)
    assert run.apply() is True
    (request,) = run.cloud.created
    assert request["ChangeSetType"] == kind
    assert request["TemplateURL"] == "https://template"
    assert request["Parameters"] == [{"ParameterKey": "Stage", "ParameterValue": "test"}]
    assert run.cloud.status == f"{kind}_COMPLETE"


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information to create a change set.",
        "No updates are to be performed.",
    ],
)
def test_no_changes_is_a_success_and_leaves_no_change_set_behind(reason: str) -> None:
    run = Run("CREATE_COMPLETE")
    run.cloud.change_set_reason = reason
    assert run.apply() is False
    assert run.cloud.deleted_change_sets == 1
    assert run.cloud.status == "CREATE_COMPLETE"


def test_a_refused_template_says_why() -> None:
    run = Run()
    run.cloud.change_set_reason = "Template error: resource X does not exist"
    with pytest.raises(DeployError, match="does not take the template: Template error: resource X"):
        run.apply()


def test_a_failed_creation_names_the_cause_and_the_way_out() -> None:
    run = Run()
    run.cloud.outcome = "ROLLBACK_COMPLETE"
    run.cloud.events = [
        event("Other", "CREATE_FAILED", "Resource creation cancelled"),
        event("WebBucket", "CREATE_FAILED", "the name is taken"),
        event("stcloud-test", "CREATE_IN_PROGRESS", "User Initiated"),
    ]
    with pytest.raises(DeployError) as failed:
        run.apply()
    assert "WebBucket (AWS::Some::Thing): the name is taken" in str(failed.value)
    assert "Other" not in str(failed.value)
    assert "--destroy" in str(failed.value)


def test_a_failed_update_says_that_the_old_stack_runs_on() -> None:
    run = Run("UPDATE_COMPLETE")
    run.cloud.outcome = "UPDATE_ROLLBACK_COMPLETE"
    run.cloud.events = [event("Prepare", "UPDATE_FAILED", "too large")]
    with pytest.raises(DeployError, match="runs on as it was before"):
        run.apply()


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("ROLLBACK_COMPLETE", "--destroy"),
        ("DELETE_FAILED", "--destroy"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("UPDATE_IN_PROGRESS", "another deployment is under way"),
        ("DELETE_IN_PROGRESS", "another deployment is under way"),
    ],
)
def test_a_stack_that_cannot_be_updated_gets_advice_and_is_left_alone(status: str, advice: str) -> None:
    run = Run(status)
    with pytest.raises(DeployError, match=advice):
        run.apply()
    assert run.cloud.created == []


def test_waiting_ends_and_says_how_to_go_on() -> None:
    run = Run()
    run.cloud.looks = 10**9
    run.cloud.events = [event("Distribution", "CREATE_IN_PROGRESS"), event("JobsTable", "CREATE_COMPLETE")]
    with pytest.raises(DeployError, match="more than 60 minutes"):
        run.apply()
    assert sum(run.slept) <= MAX_WAIT_SECONDS
    # Told once, and only about what is not done.
    assert [line for line in run.said if line.startswith("Waiting")] == ["Waiting for Distribution"]


def test_deleting_waits_for_the_end_and_a_missing_stack_is_fine() -> None:
    run = Run("CREATE_COMPLETE")
    run.stack.delete()
    assert run.cloud.status == "DELETE_COMPLETE"
    gone = Run()
    gone.stack.delete()
    assert gone.said == []


def test_a_failed_deletion_names_what_is_left() -> None:
    run = Run("CREATE_COMPLETE")
    run.cloud.outcome = "DELETE_FAILED"
    run.cloud.events = [event("OutputsBucket", "DELETE_FAILED", "not empty")]
    with pytest.raises(DeployError, match=r"OutputsBucket .*: not empty"):
        run.stack.delete()
