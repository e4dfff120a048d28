"""Finding people by the name that people use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from typing import Any

from stcloud.access_api import AccessApi
from stcloud.errors import PermissionDenied, UsageError
from stcloud.session import Session

_KEY_ID = re.compile(r"[a-z2-7]{13}[0-9A-Za-z]{10}")
_SHORT_ID = 8
_WHOLE_KEY = re.compile(rf"stk_({_KEY_ID.pattern})_[0-9A-Za-z]+")


def find_key(access: AccessApi, text: str) -> str:
    """The id of the key that is meant: by its id, or by its name when one good key has it.

    Raises UsageError for none, several, and a whole key; ApiError.
    """
    wanted = text.strip()
    whole = _WHOLE_KEY.fullmatch(wanted)
    if whole is not None:
        raise UsageError("That is the key itself; it doesn't belong on a command line.", advice=f"Its id: {whole[1]}")
    if _KEY_ID.fullmatch(wanted):
        return wanted
    mine = access.keys()
    found = [k for k in mine if k["name"] == wanted and k["is_active"]]
    if len(found) == 1:
        return str(found[0]["id"])
    if found:
        ids = ", ".join(str(k["id"]) for k in found)
        raise UsageError(f"{len(found)} of your keys are called '{wanted}'.", advice=f"Name one by its id: {ids}")
    raise UsageError(f"You have no key called '{wanted}'.", advice="Which there are: stcloud keys list")


def find_user(access: AccessApi, name: str) -> dict[str, Any]:
    """The person of this id, user name or mail address. Raises UsageError when there is none, ApiError."""
    wanted = name.strip().lower()
    for user in access.users():
        if wanted in {user["id"].lower(), user["username"].lower(), user["email"].lower()}:
            return user
    raise UsageError(f"There is nobody called '{name}'.", advice="Who there is: stcloud users list")


def owner_names(session: Session, ids: Collection[str]) -> dict[str, str] | None:
    """What to call these owners, by id; None where there is one at most and nothing to tell apart.

    By their names where the caller may see people, else by the beginning of the id.
    """
    if len(ids) < 2:
        return None
    names = {owner: owner[:_SHORT_ID] for owner in ids}
    with contextlib.suppress(PermissionDenied):
        names |= {u["id"]: u["username"] for u in session.access.users() if u["id"] in names}
    return names
