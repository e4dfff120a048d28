"""Trying a credential at a destination, without leaving a trace there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib.domain.credential_secrets import without_secret
from chalicelib.domain.credentials import Credential, CredentialKind, Secret
from chalicelib.domain.delivery_ports import AnyDestination, CheckedTarget, DeliveryFault
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import FieldError, ValidationFailed
from chalicelib.services.credentials import CredentialService, load_secret
from chalicelib.services.rates import RateRule, RateService

#: Each asks somebody else's server; nobody may use ours to knock at doors.
TESTS = RateRule("credential-tests", 30, timedelta(minutes=5))
#: API Gateway gives up at 29 seconds.
SECONDS = 10.0
#: A repository that is asked about when none is given: of the token's own user, as it has no owner.
ANY_REPOSITORY = "simpletuner-cloud-check"
#: Faults that speak of the repository more than of the token.
_OF_ONE_PLACE = frozenset({"forbidden", "not_found"})
MAX_FACTS, MAX_FACT_CHARS = 20, 300


@dataclass(frozen=True)
class TestProblem:
    """``temporary``: it says nothing of the credential, only of the destination at this moment."""

    __test__ = False

    code: str
    message: str
    advice: str
    temporary: bool


@dataclass(frozen=True)
class Tested:
    credential: Credential
    facts: tuple[str, ...]
    problem: TestProblem | None


class CredentialTests:
    def __init__(self, ports: Ports, credentials: CredentialService, rates: RateService) -> None:
        self._ports = ports
        self._credentials = credentials
        self._rates = rates

    def run(self, owner: str, name: str, destination: AnyDestination | None) -> Tested:
        """Asks the destination, for some ten seconds at most, and notes on the credential what it said; but not when it
        can't be reached now. A token of the Hub needs no destination; that it may not do all in general is not noted.

        Raises NotFound, ValidationFailed (``destination``), RateLimited.
        """
        credential = self._credentials.get(owner, name)
        where = _checked(credential, destination)
        self._rates.require(TESTS, owner)
        secret: Secret | None = None
        try:
            secret = load_secret(self._ports, credential)
            found = self._ports.targets(where, secret).check(seconds=SECONDS)
        except DeliveryFault as fault:
            message, advice = (without_secret(text, secret) for text in (fault.message, fault.advice))
            problem = TestProblem(fault.code, message[:MAX_FACT_CHARS], advice[:MAX_FACT_CHARS], fault.retry)
            if destination is None and fault.code in _OF_ONE_PLACE:
                # A token for one repository may do nothing else, and is right all the same.
                to = f"stcloud credentials test {name} --to huggingface:OWNER/NAME"
                advice = f"If the token is for certain repositories, try it at one of them: {to}. Otherwise: {advice}"
                problem = replace(problem, advice=advice)
            elif not problem.temporary:
                credential = self._noted(credential, passed=False, facts=(problem.message,))
            return Tested(credential, (), problem)
        told = found.facts if destination is not None else _in_general(found)
        facts = tuple(without_secret(fact, secret)[:MAX_FACT_CHARS] for fact in told[:MAX_FACTS])
        return Tested(self._noted(credential, passed=True, facts=facts), facts, None)

    def _noted(self, credential: Credential, *, passed: bool, facts: tuple[str, ...]) -> Credential:
        now = self._ports.clock.now()
        noted = credential.changed(now, tested_at=now, test_passed=passed, facts=facts)
        # When it was rotated meanwhile, what was tested is not what is stored.
        with suppress(StaleRecordError):
            self._ports.credentials.update(noted)
        return noted


def _in_general(found: CheckedTarget) -> Sequence[str]:
    """What was found of a repository that nobody asked for, said of its owner's."""
    owner, _, repository = str(found.result.get("repo_id", "")).partition("/")
    return (f"makes repositories of {owner}, and writes to them",) if repository == ANY_REPOSITORY else found.facts


def _checked(credential: Credential, destination: AnyDestination | None) -> AnyDestination:
    name, kind = credential.name, credential.kind
    if destination is None:
        if kind is not CredentialKind.HUGGINGFACE:
            what = "bucket, endpoint_url, region, prefix" if kind is CredentialKind.S3 else "url"
            raise _wrong(f"is needed to test a credential of kind {kind}: {{kind: {kind}, {what}}}", "missing")
        return HubDestination(repo_id=ANY_REPOSITORY, credential=name)
    if destination.kind != kind.value:
        raise _wrong(f"is of kind {destination.kind}, and the credential '{name}' of kind {kind}", "kind")
    if destination.credential not in {None, name}:
        raise _wrong(f"names another credential; leave `credential` out, it is '{name}' that is tested", "credential")
    return destination.model_copy(update={"credential": name})


def _wrong(message: str, code: str) -> ValidationFailed:
    return ValidationFailed(f"destination: {message}.", errors=[FieldError("destination", message, code)])
