"""What a route declares, what its handler gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from chalicelib.api.auth import Caller
from chalicelib.api.facts import RequestFacts
from chalicelib.api.problems import Headers
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.services.audit import Actor
from chalicelib.wiring import Services

B = TypeVar("B")
Q = TypeVar("Q")
_NOBODY = Principal(owner="", permissions=frozenset())


@dataclass(frozen=True)
class Call(Generic[B, Q]):
    """One request, parsed: who calls, the body and query as models, the raw parts for the few that need them.

    On a public route ``caller`` is None and ``who`` may do nothing; ``identify`` looks at the credentials there, and
    raises AuthenticationError.
    """

    services: Services
    facts: RequestFacts
    caller: Caller | None
    identify: Callable[[], Caller]
    body: B
    query: Q
    raw_body: bytes

    @property
    def who(self) -> Principal:
        return self.caller.who if self.caller is not None else _NOBODY

    @property
    def actor(self) -> Actor:
        """The caller, for the audit."""
        return actor_of(self.who, self.facts)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.facts.headers

    @property
    def request_id(self) -> str:
        return self.facts.request_id


@dataclass(frozen=True)
class Noted:
    """What the audit says of an action that took place: its target (``kind:id``), whose it is, and facts without
    secrets."""

    target: str | None = None
    owner: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """A response model with a status other than the declared one, with headers, or with facts for the audit: ``noted``
    None when nothing has been done yet that the audit should know."""

    model: BaseModel
    status: int | None = None
    headers: Headers = field(default_factory=dict)
    noted: Noted | None = field(default_factory=Noted)
    #: Sent in the place of the model's JSON; bytes need the content type application/octet-stream.
    text: str | bytes | None = None


@dataclass(frozen=True)
class Audited:
    """The route's line in the audit. ``target`` is made from its path parameters.

    A refusal or failure is noted for everybody who was let in. What was done is noted afterwards, unless ``granting``:
    then it gives rights, and the use case records it before it takes effect. With ``refusals_only`` the route only
    reads, and who was not let read is all that is noted.
    """

    action: AuditAction
    target: str
    granting: bool = False
    refusals_only: bool = False


@dataclass(frozen=True)
class Endpoint:
    """The declaration of one route.

    ``permission`` None means that none is needed, which ``public_reason`` has to justify; with ``any_caller`` a
    credential is needed all the same. ``from_machines``: it is called by other services and never by our pages.
    ``spends``: it costs the owner money, or keeps a secret of theirs, so a session's person is looked up anew.
    ``headers`` describes request headers by their aliases and ``raw_body`` a body that the handler reads itself; both
    are for the OpenAPI document only. ``storage``: bodies are bytes of any size, and errors have S3's shape when
    its SDK asks.
    """

    method: str
    path: str
    summary: str
    permission: Permission | None
    response: type[BaseModel]
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    status: int
    statuses: tuple[int, ...]
    tag: str
    operation_id: str
    description: str
    public_reason: str
    any_caller: bool
    from_machines: bool
    submit_errors: bool
    headers: type[BaseModel] | None
    raw_body: str
    audited: Audited | None
    spends: bool
    storage: bool = False

    @property
    def changes_something(self) -> bool:
        return self.method != "GET"

    @property
    def needs_caller(self) -> bool:
        return self.permission is not None or self.any_caller


ENDPOINTS: list[Endpoint] = []


@dataclass(frozen=True)
class Runtime:
    """What the routes of one app need at run time; both are called for each request."""

    services: Callable[[], Services]
    authenticate: Callable[[Services, RequestFacts], Caller]


Handler = Callable[..., BaseModel | Reply]


def actor_of(who: Principal, facts: RequestFacts) -> Actor:
    return Actor.of(who, source_ip=facts.source_ip, request_id=facts.request_id)
