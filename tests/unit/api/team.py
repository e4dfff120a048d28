"""A team behind its doors: a first admin, people of every role, their sessions and keys, all made through the API."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from chalicelib.domain.permissions import Role
from chalicelib.services.sessions import Wait
from chalicelib.wiring import Services, build_services
from tests.fakes.world import CONFIG, FILES, World
from tests.unit.api.client import Answer, ApiClient, local_services

PASSWORD = "Correct-Horse-7-Battery"
ADMIN = {"username": "ada", "email": "ada@example.com", "password": PASSWORD, "display_name": "Ada"}
PEOPLE = {"lena": Role.LEAD, "rita": Role.RESEARCHER, "otto": Role.RESEARCHER, "vera": Role.VIEWER}


class Team:
    def __init__(self, world: World, services: Services | None = None) -> None:
        self.world = world
        self.services = services or local_services(world)
        self.anonymous = ApiClient(self.services)
        self.ids: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        made = self.anonymous.post("/api/auth/setup/first-admin", ADMIN)
        assert made.status == 200, made.body
        self.ids["ada"] = made.json()["user"]["id"]
        world.clock.advance(6)  # local mode has ended everywhere
        for name, role in PEOPLE.items():
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "role": role}
            invited = self.session("ada").post("/api/users", body)
            assert invited.status == 201, invited.body
            self.ids[name] = invited.json()["id"]

    def with_doors(self, **doors: Any) -> None:
        """From now on its requests meet these ports: another process of the same stack."""
        now, slept = self.services, self.world.slept
        wait = Wait(monotonic=lambda: self.world.clock.now().timestamp(), sleep=slept.append)
        self.services = build_services(now.ports, replace(self.world.doors, **doors), now.settings, wait)
        self.anonymous = ApiClient(self.services)

    def sign_in(self, name: str, password: str = PASSWORD, **body: Any) -> Answer:
        return self.anonymous.post("/api/auth/login", {"username": name, "password": password, **body})

    def token(self, name: str) -> str:
        """An access token that is good now."""
        token = self._sessions.get(name)
        session = self.world.pool.session_of(token) if token else None
        if token is None or session is None or self.world.clock.now() >= session.expires_at:
            token = self._sessions[name] = self.sign_in(name).json()["access_token"]
        return token

    def session(self, name: str) -> ApiClient:
        return self.anonymous.bearing(self.token(name))

    def make_key(self, name: str, **body: Any) -> dict[str, Any]:
        answer = self.session(name).post("/api/auth/api-keys", {"name": "ci", **body})
        assert answer.status == 200, answer.body
        return dict(answer.json())

    def key(self, name: str, **body: Any) -> ApiClient:
        return self.anonymous.bearing(self.make_key(name, **body)["key"])

    def submit(self, client: ApiClient, **body: Any) -> Answer:
        """A training over images that need no upload."""
        remote = [{"id": "photos", "type": "huggingface", "dataset_name": "owner/photos"}]
        return client.post("/api/cloud/jobs/submit", {"config": CONFIG, "dataloader_config": remote, **body})

    def push(self, client: ApiClient, dataset_id: str = "photos") -> str:
        """A complete dataset of this client; returns its version."""
        manifest = [{"path": p, "size": len(b), "sha256": _sha(b)} for p, b in FILES.items()]
        made = client.post("/api/cloud/datasets", {"dataset_id": dataset_id, "files": manifest}).json()
        base = f"/api/cloud/datasets/{dataset_id}/versions/{made['version_id']}"
        for upload in client.post(f"{base}/uploads", {}).json()["uploads"]:
            self.world.dataset_files.upload(
                upload["url"], upload["headers"], FILES[upload["path"]], now=self.world.clock.now()
            )
        assert client.post(f"{base}/complete").status == 200
        return str(made["version_id"])

    def audit(self, action: str) -> list[tuple[str, str, str, str | None]]:
        """(actor's name or id, result, target, code) of every record of this action, oldest first."""
        return [
            (r.actor_name or r.actor_id, r.result.value, r.target, r.code)
            for r in self.world.audit.records
            if str(r.action) == action
        ]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
