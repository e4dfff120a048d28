"""What a token of the Hub may do, from the Hub's own ``whoami``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WRITES = frozenset({"repo.write", "repo.content.write"})
_MEMBERS_THAT_WRITE = frozenset({"admin", "write", "contributor"})


@dataclass(frozen=True)
class Rights:
    """``writes``: to that repository, if it is there. ``creates``: repositories in its namespace. ``why_not`` is for
    people; None when it may write."""

    name: str
    writes: bool
    creates: bool
    why_not: str | None = None


def full_name(repo_id: str, whoami: Mapping[str, Any]) -> str:
    """``owner/name``: without an owner it is the token's."""
    return repo_id if "/" in repo_id else f"{whoami.get('name')}/{repo_id}"


def rights_on(repo_id: str, whoami: Mapping[str, Any]) -> Rights:
    """``repo_id`` is full. Fails closed: what the answer does not say is not allowed."""
    name = str(whoami.get("name"))
    owner = repo_id.split("/", 1)[0]
    token = _mapping(_mapping(whoami.get("auth")).get("accessToken"))
    role = token.get("role")
    if role == "fineGrained":
        return _fine_grained(name, owner, repo_id, _mapping(token.get("fineGrained")))
    if role != "write":
        return Rights(name, False, False, f"the token can only read (its role is '{role}')")
    if owner == name:
        return Rights(name, True, True)
    for org in whoami.get("orgs") or ():
        if _mapping(org).get("name") == owner:
            member = str(org.get("roleInOrg"))
            if member in _MEMBERS_THAT_WRITE:
                return Rights(name, True, True)
            return Rights(name, False, False, f"{name} has the role '{member}' in {owner}, which can't write")
    return Rights(name, False, False, f"{name} is no member of {owner}")


def _fine_grained(name: str, owner: str, repo_id: str, token: Mapping[str, Any]) -> Rights:
    on_owner = on_repo = False
    for scope in token.get("scoped") or ():
        entity = _mapping(_mapping(scope).get("entity"))
        if not _WRITES & set(_mapping(scope).get("permissions") or ()):
            continue
        kind = entity.get("type")
        on_owner = on_owner or (kind in {"user", "org"} and entity.get("name") == owner)
        on_repo = on_repo or (kind == "model" and entity.get("name") == repo_id)
    if on_owner or on_repo:
        return Rights(name, True, on_owner)
    return Rights(name, False, False, f"the fine-grained token has no right to write to {repo_id} or to {owner}'s")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
