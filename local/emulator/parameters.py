"""Listing SSM parameters under IAM as on AWS: the right is one on the path that is listed.

ministack 1.5.33 (https://github.com/ministackorg/ministack) asks for ``ssm:GetParametersByPath`` on ``*``, so nobody
could be allowed to list one path and no other. AWS asks for it on the path as if it were a parameter
(https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-access.html).
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from local.emulator.pins import require_source


def patch_parameters() -> None:
    """Raises PatchError when ministack's source is not the one we know."""
    actions: Any = import_module("ministack.core.iam_actions")
    require_source(
        actions.extract_resource_arn, 'if service == "ssm":', 'name = _param(body, query_params, "Name")', 'return "*"'
    )
    known = actions.extract_resource_arn

    def patched(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any, **named: Any) -> Any:
        found = known(service, method, path, headers, body, *rest, **named)
        listed = listed_path(body) if service == "ssm" and found == "*" else None
        if listed is None or actions._action_from_target(headers) != "GetParametersByPath":
            return found
        # The same request with the path in the place of a parameter's name: region and account stay ministack's affair.
        return known(service, method, path, headers, json.dumps({"Name": listed}).encode(), *rest, **named)

    actions.extract_resource_arn = patched


def listed_path(body: bytes) -> str | None:
    """The path of a request to list one; None when there is none."""
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return None
    path = document.get("Path") if isinstance(document, dict) else None
    return path if isinstance(path, str) and path else None
