"""The API over a world in memory, called as a client calls it: methods and public paths in, status and JSON out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LambdaEventConverter, LocalGateway, LocalGatewayException, MatchResult, RouteMatcher

from chalicelib.api.application import mount
from chalicelib.api.auth import Caller, authenticate
from chalicelib.api.facts import RequestFacts
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.settings import AuthMode
from chalicelib.wiring import Services, build_services
from tests.fakes.world import World

#: What curl sends with ``-d`` when nothing else is said.
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, Any]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, str]:
        """Set-Cookie values by the cookie's name."""
        sent = self.headers.get("Set-Cookie", [])
        return {c.partition("=")[0]: c for c in ([sent] if isinstance(sent, str) else sent)}


class GreedyMatcher(RouteMatcher):  # type: ignore[misc, unused-ignore]
    """Chalice's, which knows no ``{key+}``; API Gateway prefers any other route."""

    def match_route(self, url: str) -> MatchResult:
        try:
            found = super().match_route(url)
            captured = {name.rstrip("+"): value for name, value in found.captured.items()}
            return MatchResult(found.route, captured, found.query_params)
        except ValueError:
            path, _, query = url.partition("?")
            for route in self.route_urls:
                names = re.findall(r"{(\w+)\+?}", route)
                pattern = re.sub(r"{\w+}", "([^/]+)", re.sub(r"{\w+\+}", "(.+)", route))
                greedy = re.fullmatch(pattern, path) if "+}" in route else None
                if greedy is not None:
                    captured = dict(zip(names, greedy.groups(), strict=True))
                    return MatchResult(route, captured, parse_qs(query, keep_blank_values=True))
            raise


@dataclass
class ApiClient:
    """``services`` and ``authenticate`` may be replaced between requests; ``headers`` are sent with each."""

    services: Services
    headers: dict[str, str] = field(default_factory=dict)
    authenticate: Callable[[Services, RequestFacts], Caller] = authenticate

    def __post_init__(self) -> None:
        self.app = Chalice(app_name="test")
        mount(self.app, lambda: self.services, lambda services, facts: self.authenticate(services, facts))
        self._gateway = LocalGateway(self.app, Config.create())
        matcher = GreedyMatcher(list(self.app.routes))
        self._gateway.event_converter = LambdaEventConverter(matcher, self.app.api.binary_types)

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """``path`` is the public one (``/api/…``); ``body`` is JSON unless it is bytes already."""
        assert path.startswith("/api/")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", **self.headers, **(headers or {})}
        try:
            answer = self._gateway.handle_request(method, path.removeprefix("/api"), sent, raw)
        except LocalGatewayException as refused:
            return Answer(refused.CODE, dict(refused.headers), refused.body or b"")
        content = answer["body"] or ""
        return Answer(
            answer["statusCode"],
            {**answer["headers"], **answer["multiValueHeaders"]},
            content.encode() if isinstance(content, str) else content,
        )

    def act_as(self, owner: str, *permissions: Permission) -> None:
        """From now on ``owner`` calls, with these permissions only."""
        self.authenticate = lambda _services, _facts: Caller(Principal(owner, frozenset(permissions)))

    def bearing(self, token: str) -> ApiClient:
        """Another client of the same services that sends ``token``."""
        return ApiClient(self.services, {"Authorization": f"Bearer {token}"})

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.request("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.request("PUT", path, body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.request("DELETE", path, **options)


def local_services(world: World) -> Services:
    """The world's services as a stack on somebody's own computer has them: whoever calls is the admin ``local``."""
    return replace(world.services, settings=world.services.settings.model_copy(update={"auth_mode": AuthMode.LOCAL}))


def with_ports(services: Services, **ports: Any) -> Services:
    """The same services over other ports."""
    return build_services(replace(services.ports, **ports), services.doors, services.settings)


def hosted_services(world: World, deploy_token: str | None) -> Services:
    """The world's services as a hosted stack has them."""
    world.secrets.deploy_token = deploy_token
    settings = world.services.settings.model_copy(update={"auth_mode": AuthMode.TOKEN})
    return replace(world.services, settings=settings)
