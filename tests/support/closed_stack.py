"""A whole local stack whose doors are closed: a first admin, people of every role, their sessions and keys."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.stack import Answer, Stack, eventually, running_stack

PASSWORD = "Correct-Horse-7-Battery"
ADMIN = "ada"
PEOPLE = {"lena": "lead", "rita": "researcher", "otto": "researcher", "vera": "viewer"}
#: Sessions of 15 minutes are renewed before they end.
RENEW_SECONDS = 600.0


@dataclass
class Caller(Stack):
    """The stack as somebody uses it: ``headers`` go with each request to the API, none with those to the storage.

    ``heard`` holds every answer, with its headers, as text.
    """

    headers: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)

    def api(self, method: str, path: str, **request: Any) -> Answer:
        sent = {**self.headers, **request.pop("headers", {})}
        answer = super().api(method, path, headers=sent, **request)
        self.heard.append(f"{answer.headers}\n{answer.text}")
        return answer


@dataclass
class Member(Caller):
    """A person with a session that renews itself."""

    name: str = ""
    user_id: str = ""
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    renewed_at: float = 0.0

    def sign_in(self, password: str = PASSWORD) -> None:
        answer = self.ok("POST", "/auth/login", json={"username": self.name, "password": password})
        self.user_id, self.refresh_token = answer["user"]["id"], answer["refresh_token"]
        self._bear(answer["access_token"])

    def api(self, method: str, path: str, **request: Any) -> Answer:
        if self.access_token and time.monotonic() - self.renewed_at > RENEW_SECONDS:
            self.renewed_at = time.monotonic()
            self._bear(self.ok("POST", "/auth/refresh", json={"refresh_token": self.refresh_token})["access_token"])
        return super().api(method, path, **request)

    def _bear(self, token: str) -> None:
        self.access_token, self.renewed_at = token, time.monotonic()
        self.headers["Authorization"] = f"Bearer {token}"


@dataclass
class ClosedStack:
    """``people`` by name: ada is the admin, lena a lead, rita and otto researchers, vera a viewer."""

    stack: Stack
    people: Mapping[str, Member] = field(default_factory=dict)
    _others: list[Caller] = field(default_factory=list)

    def __getitem__(self, name: str) -> Member:
        return self.people[name]

    def caller(self, **headers: str) -> Caller:
        """Somebody who sends these headers (``Authorization="…"``, ``x_api_key="…"``); nobody without."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        caller = Caller(self.stack.folder, self.stack.ports, headers=sent)
        self._others.append(caller)
        return caller

    def make_key(self, name: str, **body: Any) -> dict[str, Any]:
        """A new API key of this person, as it was answered."""
        return dict(self[name].ok("POST", "/auth/api-keys", json={"name": "tests", **body}))

    def key(self, name: str, **body: Any) -> Caller:
        """Whoever holds a new API key of this person."""
        return self.caller(Authorization=f"Bearer {self.make_key(name, **body)['key']}")

    def close(self) -> None:
        for caller in (*self.people.values(), *self._others):
            caller.http.close()
            caller.sandbox.http.close()


def close_doors(stack: Stack) -> ClosedStack:
    """Makes the people. From here on the stack takes nobody without a credential."""
    mail = {"username": ADMIN, "email": f"{ADMIN}@example.com", "password": PASSWORD}
    stack.ok("POST", "/auth/setup/first-admin", json=mail)
    ada = Member(stack.folder, stack.ports, name=ADMIN)
    ada.sign_in()
    people = {ADMIN: ada}
    for name, role in PEOPLE.items():
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "role": role}
        ada.ok("POST", "/users", json=body)
        people[name] = Member(stack.folder, stack.ports, name=name)
        people[name].sign_in()
    # Every Lambda may remember for seconds that there was nobody.
    eventually(lambda: stack.api("GET", "/cloud/jobs").status == httpx.codes.UNAUTHORIZED)
    return ClosedStack(stack, people)


@contextmanager
def running_closed_stack(folder: Path) -> Iterator[ClosedStack]:
    with running_stack(folder) as stack:
        closed = close_doors(stack)
        try:
            yield closed
        finally:
            closed.close()
