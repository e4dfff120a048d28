"""Trying a credential at a destination, without leaving a trace there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from chalicelib.domain.credentials import Credential, CredentialKind, HubSecret, S3Secret, Secret
from chalicelib.domain.delivery_ports import AnyDestination, DeliveryFault, TargetLookup
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.domain.redaction import redact
from chalicelib.errors import FieldError, ValidationFailed
from chalicelib.services.credentials import CredentialService, load_secret
from chalicelib.services.rates import RateRule, RateService

#: Each asks somebody else's server; nobody may use ours to knock at doors.
TESTS = RateRule("credential-tests", 30, timedelta(minutes=5))
#: API Gateway gives up at 29 seconds.
SECONDS = 10.0
#: A repository that is asked about when none is given: of the token's own user, as it has no owner.
ANY_REPOSITORY = "simpletuner-cloud-check"
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
    def __init__(self, ports: Ports, credentials: CredentialService, rates: RateService, targets: TargetLookup) -> None:
        self._ports = ports
        self._credentials = credentials
        self._rates = rates
        self._targets = targets

    def run(self, owner: str, name: str, destination: AnyDestination | None) -> Tested:
        """Asks the destination, for some ten seconds at most, and notes on the credential what it said; but not when it
        can't be reached now. A token of the Hub needs no destination.

        Raises NotFound, ValidationFailed (``destination``), RateLimited.
        """
        credential = self._credentials.get(owner, name)
        where = _checked(credential, destination)
        self._rates.require(TESTS, owner)
        secret: Secret | None = None
        try:
            secret = load_secret(self._ports, credential)
            found = self._targets(where, secret).check(seconds=SECONDS)
        except DeliveryFault as fault:
            clean = _Cleaner(secret)
            problem = TestProblem(fault.code, clean(fault.message), clean(fault.advice), fault.retry)
            if not problem.temporary:
                credential = self._noted(credential, passed=False, facts=(problem.message,))
            return Tested(credential, (), problem)
        facts = tuple(_Cleaner(secret)(fact) for fact in found.facts[:MAX_FACTS])
        return Tested(self._noted(credential, passed=True, facts=facts), facts, None)

    def _noted(self, credential: Credential, *, passed: bool, facts: tuple[str, ...]) -> Credential:
        now = self._ports.clock.now()
        noted = credential.changed(now, tested_at=now, test_passed=passed, facts=facts)
        # When it was rotated meanwhile, what was tested is not what is stored.
        with suppress(StaleRecordError):
            self._ports.credentials.update(noted)
        return noted


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


class _Cleaner:
    """Texts of a destination without the secret, whatever it chose to repeat."""

    def __init__(self, secret: Secret | None) -> None:
        self._values = sorted((v for v in _values(secret) if v), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, "[redacted]")
        return redact(text)[:MAX_FACT_CHARS]


def _values(secret: Secret | None) -> Iterator[str]:
    secrets: Iterable[SecretStr | None]
    if secret is None:
        return
    if isinstance(secret, HubSecret):
        secrets = (secret.token,)
    elif isinstance(secret, S3Secret):
        secrets = (secret.secret_access_key, secret.session_token)
    else:
        secrets = secret.secrets
    for value in secrets:
        if value is not None:
            yield value.get_secret_value()
