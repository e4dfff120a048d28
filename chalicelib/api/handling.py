"""One request, from its credentials to its answer: everything around a handler."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from chalice.app import Request, Response

from chalicelib.api.auth import Caller
from chalicelib.api.cookies import jar_of, sends_session_cookie
from chalicelib.api.cross_site import refuse_cross_site
from chalicelib.api.declarations import Call, Endpoint, Handler, Noted, Reply, Runtime, actor_of
from chalicelib.api.facts import facts_of
from chalicelib.api.parsing import parse_body, parse_path, parse_query, read_body
from chalicelib.api.problems import SECURITY_HEADERS, problem
from chalicelib.api.storage_xml import XML, error_xml, speaks_s3
from chalicelib.domain.access_ports import RateVerdict
from chalicelib.domain.audit import AuditResult
from chalicelib.domain.lifecycle import ContendedError, JobGoneError
from chalicelib.domain.misplaced import without_credentials
from chalicelib.domain.permissions import PEOPLE_ONLY, CallerKind, Permission, Principal
from chalicelib.domain.ports import StaleRecordError
from chalicelib.errors import AppError, AuthenticationError, Conflict, PermissionDenied
from chalicelib.services.rates import CALLS, REFUSED, RateLimited
from chalicelib.wiring import Services

logger = logging.getLogger(__name__)


def respond(
    request: Request, runtime: Runtime, endpoint: Endpoint, handler: Handler, parameters: Mapping[str, str]
) -> Response:
    """Runs one request through authentication, rate, permission, parsing and the handler; maps every error to a
    problem; notes in the audit what became of it."""
    return _Exchange(request, runtime, endpoint, handler, parameters).respond()


class _Exchange:
    def __init__(
        self,
        request: Request,
        runtime: Runtime,
        endpoint: Endpoint,
        handler: Handler,
        parameters: Mapping[str, str],
    ) -> None:
        self._request = request
        self._runtime = runtime
        self._endpoint = endpoint
        self._handler = handler
        self._parameters = parameters
        self._facts = facts_of(request, endpoint.method)
        self._services: Services | None = None
        self._caller: Caller | None = None
        self._rate: RateVerdict | None = None

    def respond(self) -> Response:
        endpoint, request_id = self._endpoint, self._facts.request_id
        try:
            reply = self._handle()
            body = reply.model.model_dump_json() if reply.text is None else reply.text
        except AppError as error:
            logger.info("%s %s -> %s %s", endpoint.method, endpoint.path, error.status, error.code)
            return self._refused(error)
        except (StaleRecordError, ContendedError, JobGoneError):
            return self._refused(
                Conflict("It changed at this very moment; read it again and repeat.", code="changed_meanwhile")
            )
        except Exception:
            # The last net of the edge: nothing internal may reach the client, everything must reach the log.
            logger.exception("%s %s failed, request %s", endpoint.method, endpoint.path, request_id)
            return self._refused(
                AppError(f"Something went wrong on our side. The log has it under request id {request_id}.")
            )
        status = reply.status or endpoint.status
        logger.info("%s %s -> %s", endpoint.method, endpoint.path, status)
        audited = endpoint.audited
        if audited is not None and not (audited.granting or audited.refusals_only) and reply.noted is not None:
            self._note(AuditResult.ALLOWED, reply.noted)
        headers = {"Content-Type": "application/json", **SECURITY_HEADERS, **_rate_headers(self._rate), **reply.headers}
        return Response(body=body, status_code=status, headers=headers)

    def _handle(self) -> Reply:
        endpoint = self._endpoint
        services = self._services = self._runtime.services()
        facts = self._facts = self._facts.behind(services.settings.origin_secret_sha256)
        if services.settings.only_through_distribution and not facts.proven:
            raise _wrong_door()
        if endpoint.needs_caller:
            self._let_in(services)
        if endpoint.changes_something and not endpoint.from_machines:
            refuse_cross_site(facts.headers, services.ports.facts.public_url)
        raw = read_body(self._request, bounded=not endpoint.storage)
        call: Call[Any, Any] = Call(
            services=services,
            facts=facts,
            caller=self._caller,
            identify=lambda: self._caller or self._runtime.authenticate(services, facts),
            body=parse_body(endpoint.body, raw) if endpoint.body else None,
            query=parse_query(endpoint.query, self._request) if endpoint.query else None,
            raw_body=raw,
        )
        result = self._handler(call, **parse_path(self._parameters))
        return result if isinstance(result, Reply) else Reply(result)

    def _let_in(self, services: Services) -> None:
        caller = self._caller = self._recognised(services)
        subject = _subject(caller.who)
        if subject is not None:
            self._rate = services.rates.count(CALLS, subject)
            if not self._rate.allowed:
                raise RateLimited(self._rate)
        permission = self._endpoint.permission
        if permission is not None and not caller.who.may(permission):
            raise _missing(permission, caller.who)
        # A key was looked up a moment ago; a session says what its person was up to 15 minutes ago.
        if self._endpoint.spends and permission is not None and caller.who.kind is CallerKind.SESSION:
            services.people.standing(caller.who, permission)

    def _recognised(self, services: Services) -> Caller:
        """The caller. Credentials that are none are counted by source address, so that guessing costs us no more."""
        address = self._facts.source_ip
        worn = services.rates.refused(REFUSED, address) if self._facts.shows_credentials else None
        if worn is not None:
            raise RateLimited(worn)
        try:
            return self._runtime.authenticate(services, self._facts)
        except AuthenticationError:
            if self._facts.shows_credentials:
                services.rates.require(REFUSED, address)
            raise

    def _refused(self, error: AppError) -> Response:
        # Refusals for asking too often are not noted: a flood must not fill the audit.
        audited, denied = self._endpoint.audited, error.status in {401, 403}
        noteworthy = audited is not None and (denied or not audited.refusals_only)
        if noteworthy and not (self._rate and not self._rate.allowed):
            self._note(AuditResult.DENIED if denied else AuditResult.FAILED, Noted(), code=error.code)
        rate = error.verdict if isinstance(error, RateLimited) else self._rate
        headers: dict[str, str | list[str]] = {**_rate_headers(rate), **self._cookies_after(error)}
        if self._endpoint.storage and speaks_s3(self._facts.headers):
            return Response(
                body=error_xml(error, self._facts.request_id),
                status_code=error.status,
                headers={"Content-Type": XML, **SECURITY_HEADERS, **headers},
            )
        return problem(error, self._facts.request_id, submit=self._endpoint.submit_errors, headers=headers)

    def _note(self, result: AuditResult, noted: Noted, *, code: str | None = None) -> None:
        """Callers who were not let in leave no line here: anybody could fill the audit."""
        audited = self._endpoint.audited
        if audited is None or self._caller is None or self._services is None:
            return
        self._services.audit.note(
            actor_of(self._caller.who, self._facts),
            audited.action,
            result,
            target=noted.target or _target(audited.target, self._parameters),
            owner=noted.owner,
            code=code,
            details=noted.details,
        )

    def _cookies_after(self, error: AppError) -> dict[str, list[str]]:
        """A session cookie that is no good is removed: it would be sent, and refused, for ever."""
        facts = self._facts
        by_header = {"authorization", "x-api-key"} & facts.headers.keys()
        if self._services is None or by_header or not isinstance(error, AuthenticationError):
            return {}
        if error.code != "invalid_session" or not sends_session_cookie(facts):
            return {}
        return {"Set-Cookie": jar_of(self._services).drop_session()}


def _wrong_door() -> PermissionDenied:
    return PermissionDenied("This is not the way in. Use the stack's public address.", code="wrong_door")


def _rate_headers(rate: RateVerdict | None) -> dict[str, str]:
    """https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/03/, the form that clients know."""
    if rate is None:
        return {}
    return {
        "RateLimit-Limit": str(rate.limit),
        "RateLimit-Remaining": str(rate.remaining),
        "RateLimit-Reset": str(rate.reset_seconds),
    }


def _subject(who: Principal) -> str | None:
    """Who is counted; None for the owner of this computer."""
    match who.kind:
        case CallerKind.KEY:
            return f"key#{who.key_id}"
        case CallerKind.SESSION:
            return f"person#{who.owner}"
        case CallerKind.DEPLOY_TOKEN:
            return "deploy-token"
        case CallerKind.LOCAL:
            return None


def _missing(permission: Permission, who: Principal) -> PermissionDenied:
    detail = f"This needs the permission {permission.value}."
    if who.kind is CallerKind.KEY:
        advice = "No API key has it: sign in." if permission in PEOPLE_ONLY else "This API key does not have it."
        detail = f"{detail} {advice}"
    return PermissionDenied(detail, extra={"permission": permission})


def _target(template: str, parameters: Mapping[str, str]) -> str:
    return template.format_map({name: without_credentials(unquote(value)) for name, value in parameters.items()})
