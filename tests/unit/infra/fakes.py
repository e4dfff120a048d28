"""In-memory stand-ins of the few AWS calls the deploy program makes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError


def refused(code: str, message: str = "", operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class FakeSsm:
    def __init__(self, **values: str) -> None:
        self.values = {f"/stcloud/test/{name.replace('_', '-')}": value for name, value in values.items()}
        self.kinds: dict[str, str] = {}
        self.broken = False

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, Any]:
        assert WithDecryption
        if Name not in self.values:
            raise refused("ParameterNotFound")
        return {"Parameter": {"Value": self.values[Name]}}

    def put_parameter(self, *, Name: str, Value: str, Type: str, Overwrite: bool) -> None:
        if self.broken:
            raise refused("AccessDeniedException", "no")
        assert Overwrite
        self.values[Name], self.kinds[Name] = Value, Type

    def get_parameters_by_path(self, *, Path: str, Recursive: bool, MaxResults: int) -> dict[str, Any]:
        assert Recursive
        found = sorted(name for name in self.values if name.startswith(f"{Path}/"))
        more = {"NextToken": "more"} if len(found) > MaxResults else {}
        return {"Parameters": [{"Name": name} for name in found[:MaxResults]], **more}

    def delete_parameters(self, *, Names: list[str]) -> None:
        for name in Names:
            self.values.pop(name, None)


class FakeIam:
    """One user's access keys; more than two are refused as IAM does."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.keys: dict[str, datetime] = {}
        self._made = 0

    def add(self, age: timedelta) -> str:
        self._made += 1
        name = f"AKIA{self._made}"
        self.keys[name] = self.now - age
        return name

    def list_access_keys(self, *, UserName: str) -> dict[str, Any]:
        return {"AccessKeyMetadata": [{"AccessKeyId": k, "CreateDate": at} for k, at in self.keys.items()]}

    def create_access_key(self, *, UserName: str) -> dict[str, Any]:
        if len(self.keys) == 2:
            raise refused("LimitExceeded")
        name = self.add(timedelta())
        return {"AccessKey": {"AccessKeyId": name, "SecretAccessKey": f"secret of {name}"}}

    def delete_access_key(self, *, UserName: str, AccessKeyId: str) -> None:
        del self.keys[AccessKeyId]


class FakeS3:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []

    def put_object(self, *, Bucket: str, Key: str, ExpectedBucketOwner: str, **settings: Any) -> None:
        assert ExpectedBucketOwner == "123"
        self.order.append(f"put {Key}")
        self.objects[Key] = settings

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Prefix: str, **_: Any) -> Iterator[dict[str, Any]]:
        found = [
            {"Key": k, "LastModified": v.get("at", 0)} for k, v in sorted(self.objects.items()) if k.startswith(Prefix)
        ]
        yield {"Contents": found[:2]} if found else {}
        yield {"Contents": found[2:]}

    def delete_objects(self, *, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:
        for item in Delete["Objects"]:
            self.order.append(f"delete {item['Key']}")
            self.objects.pop(item["Key"])
        return {}


class FakeCloudFormation:
    """One stack whose operation takes a few looks. ``outcome`` is the status it ends in."""

    def __init__(self, status: str | None = None) -> None:
        self.status = status
        self.outcome: str | None = None
        self.change_set_reason: str | None = None
        self.looks = 2
        self.created: list[dict[str, Any]] = []
        self.deleted_change_sets = 0
        self.events: list[dict[str, Any]] = []

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        if self.status is None:
            raise refused("ValidationError", f"Stack with id {StackName} does not exist")
        if self.status.endswith("_IN_PROGRESS") and self.outcome is not None:
            self.looks -= 1
            if self.looks <= 0:
                self.status, self.outcome = self.outcome, None
        return {"Stacks": [{"StackStatus": self.status, "StackId": "arn:stack", "Outputs": []}]}

    def create_change_set(self, **request: Any) -> dict[str, Any]:
        self.created.append(request)
        return {"Id": "arn:change"}

    def describe_change_set(self, *, ChangeSetName: str) -> dict[str, Any]:
        if self.change_set_reason is not None:
            return {"Status": "FAILED", "StatusReason": self.change_set_reason}
        return {"Status": "CREATE_COMPLETE"}

    def delete_change_set(self, *, ChangeSetName: str) -> None:
        self.deleted_change_sets += 1

    def execute_change_set(self, *, ChangeSetName: str) -> None:
        kind = self.created[-1]["ChangeSetType"]
        self.status = f"{kind}_IN_PROGRESS"
        self.outcome = self.outcome or f"{kind}_COMPLETE"

    def delete_stack(self, *, StackName: str) -> None:
        self.status, self.outcome = "DELETE_IN_PROGRESS", self.outcome or "DELETE_COMPLETE"

    def describe_stack_events(self, **_: Any) -> dict[str, Any]:
        return {"StackEvents": self.events}
