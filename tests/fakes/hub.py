"""The Hugging Face Hub in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.domain.hub import HubRepo, HubUnreachableError, RepoKind, is_repo_name

KREA = HubRepo("black-forest-labs/FLUX.1-Krea-dev", gated=True, license="other")
FLUX = HubRepo("black-forest-labs/FLUX.1-dev", gated=True, license="other")


@dataclass
class FakeModelHub:
    """``repos`` are what is public; names count in any case, as there. ``down`` is the reason why nothing answers."""

    repos: dict[tuple[RepoKind, str], HubRepo] = field(default_factory=dict)
    down: str | None = None
    looks: list[tuple[RepoKind, str]] = field(default_factory=list)

    def put(self, repo: HubRepo, kind: RepoKind = RepoKind.MODEL) -> None:
        self.repos[kind, repo.name.lower()] = repo

    def look(self, kind: RepoKind, name: str) -> HubRepo | None:
        if not is_repo_name(name):
            raise ValueError("not the name of a repository")
        self.looks.append((kind, name))
        if self.down is not None:
            raise HubUnreachableError(self.down)
        return self.repos.get((kind, name.lower()))
