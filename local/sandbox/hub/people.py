"""Who owns which token, and what it may do; in the words of the Hub's own ``whoami``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Tokens of the sandbox. They open nothing else: no secret.
WRITE_TOKEN = "hf_sandbox"  # noqa: S105
READ_TOKEN = "hf_sandbox_read"  # noqa: S105
USER = "sandbox"
ORGANIZATION = "sandbox-team"


@dataclass(frozen=True)
class Holder:
    """A token's owner. ``role`` is read, write, or fineGrained: then ``scoped`` lists (kind, name, permissions).
    ``orgs`` maps an organisation to the member's role there."""

    name: str
    role: str = "write"
    orgs: Mapping[str, str] = field(default_factory=dict)
    scoped: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def may_write(self, repo: str) -> bool:
        owner = repo.split("/", 1)[0]
        if self.role == "fineGrained":
            return any("repo.write" in allowed and name in {owner, repo} for _, name, allowed in self.scoped)
        return self.role == "write" and (owner == self.name or self.orgs.get(owner) in {"admin", "write"})

    def may_read(self, repo: str) -> bool:
        owner = repo.split("/", 1)[0]
        if self.role == "fineGrained":
            return any(name in {owner, repo} for _, name, _ in self.scoped)
        return owner == self.name or owner in self.orgs

    def whoami(self) -> dict[str, Any]:
        token: dict[str, Any] = {"displayName": "sandbox", "role": self.role}
        if self.role == "fineGrained":
            token["fineGrained"] = {
                "canReadGatedRepos": False,
                "global": [],
                "scoped": [
                    {"entity": {"_id": name, "type": kind, "name": name}, "permissions": list(permissions)}
                    for kind, name, permissions in self.scoped
                ],
            }
        return {
            "type": "user",
            "id": self.name,
            "name": self.name,
            "fullname": self.name,
            "isPro": False,
            "orgs": [{"type": "org", "name": name, "roleInOrg": role} for name, role in self.orgs.items()],
            "auth": {"type": "access_token", "accessToken": token},
        }


def default_tokens() -> dict[str, Holder]:
    return {
        WRITE_TOKEN: Holder(USER, orgs={ORGANIZATION: "admin"}),
        READ_TOKEN: Holder(USER, role="read", orgs={ORGANIZATION: "admin"}),
    }
