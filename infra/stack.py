"""One CloudFormation stack, created or updated by change set, with bounded waiting and failures in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from infra.errors import DeployError, error_code

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
#: A distribution takes about five minutes; CloudFormation gives up long before this.
MAX_WAIT_SECONDS = 3600
_UPDATABLE = {
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
}
_NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
#: What CloudFormation says about resources that failed only because another one did.
_FOLLOW_UPS = ("cancelled", "Resource creation Initiated")


@dataclass
class Stack:
    """``clock`` and ``sleep`` are injected by tests; ``poll_seconds`` is the pace of looking."""

    client: Any
    name: str
    say: Callable[[str], None]
    poll_seconds: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def describe(self) -> dict[str, Any] | None:
        """The stack as CloudFormation describes it, or None."""
        try:
            found = self.client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return found[0] if found else None

    def outputs(self) -> dict[str, str]:
        stack = self.describe() or {}
        return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}

    def apply(self, template_url: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        """Brings the stack to this template; False when there was nothing to do. Raises DeployError with the resources
        that failed."""
        kind = self._kind_of_change()
        started = self.clock()
        change_set = self.client.create_change_set(
            StackName=self.name,
            ChangeSetName=f"deploy-{started:%Y%m%dT%H%M%S}-{started.microsecond:06d}",
            ChangeSetType=kind,
            TemplateURL=template_url,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in sorted(parameters.items())],
            Capabilities=CAPABILITIES,
            Tags=[{"Key": k, "Value": v} for k, v in sorted(tags.items())],
        )["Id"]
        if not self._ready(change_set):
            return False
        self.say(f"{'Creating' if kind == 'CREATE' else 'Updating'} the stack {self.name}")
        self.client.execute_change_set(ChangeSetName=change_set)
        status = self._settled(started)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise DeployError(self._explain(status, started))
        return True

    def delete(self) -> None:
        """Deletes the stack and waits for its end; no effect when there is none. Raises DeployError."""
        stack = self.describe()
        if stack is None:
            return
        started, identity = self.clock(), stack["StackId"]
        self.say(f"Deleting the stack {self.name}")
        self.client.delete_stack(StackName=self.name)
        for _ in range(self._looks()):
            # By id, because a deleted stack can't be found by its name.
            try:
                status = self.client.describe_stacks(StackName=identity)["Stacks"][0]["StackStatus"]
            except ClientError as error:
                if "does not exist" in str(error):
                    return
                raise
            if status == "DELETE_COMPLETE":
                return
            if status == "DELETE_FAILED":
                raise DeployError(f"The stack {self.name} could not be deleted.\n{self._failures(started)}")
            self.sleep(self.poll_seconds)
        raise DeployError(self._too_long())

    def _kind_of_change(self) -> str:
        stack = self.describe()
        status = stack["StackStatus"] if stack else None
        if status is None or status == "REVIEW_IN_PROGRESS":
            return "CREATE"
        if status in _UPDATABLE:
            return "UPDATE"
        if status in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}:
            raise DeployError(
                f"The stack {self.name} is {status}: its first deployment failed (or its deletion), and CloudFormation "
                "can't update it any more. It holds nothing of use; remove it with --destroy, then deploy again."
            )
        if status == "UPDATE_ROLLBACK_FAILED":
            raise DeployError(
                f"The stack {self.name} is {status}. Mend what CloudFormation names in its events, then run: "
                f"aws cloudformation continue-update-rollback --stack-name {self.name}"
            )
        raise DeployError(
            f"The stack {self.name} is {status}: another deployment is under way. Wait for it, then try again."
        )

    def _ready(self, change_set: str) -> bool:
        for _ in range(self._looks()):
            found = self.client.describe_change_set(ChangeSetName=change_set)
            if found["Status"] == "CREATE_COMPLETE":
                return True
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "")
                self.client.delete_change_set(ChangeSetName=change_set)
                if any(text in reason for text in _NOTHING_TO_DO):
                    return False
                raise DeployError(f"CloudFormation does not take the template: {reason}")
            self.sleep(min(self.poll_seconds, 2.0))
        raise DeployError(self._too_long())

    def _settled(self, started: datetime) -> str:
        shown: set[str] = set()
        for look in range(self._looks()):
            status = str((self.describe() or {}).get("StackStatus", "DELETE_COMPLETE"))
            if not status.endswith("_IN_PROGRESS"):
                return status
            if look and look % 6 == 0:
                waiting = [name for name in self._in_progress(started) if name not in shown]
                shown.update(waiting)
                if waiting:
                    self.say(f"Waiting for {', '.join(waiting[:5])}")
            self.sleep(self.poll_seconds)
        raise DeployError(self._too_long())

    def _looks(self) -> int:
        return max(1, int(MAX_WAIT_SECONDS / self.poll_seconds))

    def _too_long(self) -> str:
        return (
            f"CloudFormation works on {self.name} for more than {MAX_WAIT_SECONDS // 60} minutes. It goes on by "
            f"itself; see its events (aws cloudformation describe-stack-events --stack-name {self.name}) and deploy "
            "again afterwards."
        )

    def _events(self, started: datetime) -> list[dict[str, Any]]:
        """Events since then, newest first, at most a few hundred."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        for _ in range(5):
            page = self.client.describe_stack_events(StackName=self.name, **token)
            found += [e for e in page["StackEvents"] if e["Timestamp"] >= started.replace(microsecond=0)]
            if "NextToken" not in page or len(found) < len(page["StackEvents"]):
                break
            token = {"NextToken": page["NextToken"]}
        return found

    def _in_progress(self, started: datetime) -> list[str]:
        latest: dict[str, str] = {}
        for event in self._events(started):
            latest.setdefault(event["LogicalResourceId"], event["ResourceStatus"])
        return sorted(n for n, s in latest.items() if s.endswith("_IN_PROGRESS") and n != self.name)

    def _explain(self, status: str, started: datetime) -> str:
        if status == "ROLLBACK_COMPLETE":
            after = "Nothing of it was kept. Mend the cause, remove the empty stack with --destroy, then deploy again."
        elif status == "UPDATE_ROLLBACK_COMPLETE":
            after = "The stack runs on as it was before. Mend the cause, then deploy again."
        else:
            after = f"The stack is {status}; see its events in the CloudFormation console."
        return f"The deployment of {self.name} failed.\n{self._failures(started)}\n{after}"

    def _failures(self, started: datetime) -> str:
        lines = []
        for event in reversed(self._events(started)):
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and not any(text in reason for text in _FOLLOW_UPS):
                lines.append(f"  {event['LogicalResourceId']} ({event['ResourceType']}): {reason or 'no reason given'}")
        return "\n".join(dict.fromkeys(lines)) or "  CloudFormation names no resource that failed."
