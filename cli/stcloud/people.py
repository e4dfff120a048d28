"""Finding people by the name that people use."""

from __future__ import annotations

from typing import Any

from stcloud.access_api import AccessApi
from stcloud.errors import UsageError


def find_user(access: AccessApi, name: str) -> dict[str, Any]:
    """The person of this id, user name or mail address. Raises UsageError when there is none, ApiError."""
    wanted = name.strip().lower()
    for user in access.users():
        if wanted in {user["id"].lower(), user["username"].lower(), user["email"].lower()}:
            return user
    raise UsageError(f"There is nobody called '{name}'.", advice="Who there is: stcloud users list")
