"""Whether the destinations of a submission would let a delivery in, asked before a GPU is paid for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.credential_secrets import without_secret
from chalicelib.domain.credentials import CredentialKind, Secret
from chalicelib.domain.delivery_ports import AnyDestination, DeliveryFault
from chalicelib.domain.destinations import WebhookDestination, label
from chalicelib.domain.job_deliveries import Wish
from chalicelib.domain.ports import Ports
from chalicelib.errors import AppError, ValidationFailed
from chalicelib.services.credentials import find_credential, load_secret

CHECK = "delivery"
NOT_REACHED = "destination_not_reached"
#: Of each check; they run side by side.
SECONDS = 8.0
#: After that the rest counts as not reached.
TOTAL_SECONDS = 10.0
MAX_TEXT = 300

logger = logging.getLogger(__name__)


def ask_destinations(ports: Ports, owner: str, wishes: Sequence[Wish], *, ping: bool = True) -> Iterator[Finding]:
    """Asks every destination, side by side, in about TOTAL_SECONDS: a canary object written and deleted, the token's
    rights on the repository, a signed ping (only with ``ping``: a machine of the user's may well be off at submit).

    A refusal is an ERROR: waiting does not mend it. A destination that can't be reached is a NOTE, since deliveries are
    tried for days and the model is in escrow meanwhile. Nothing is changed here; a check leaves no trace there.
    """
    asked = [w.destination for w in wishes if ping or not isinstance(w.destination, WebhookDestination)]
    if not asked:
        return
    pool = ThreadPoolExecutor(max_workers=len(asked), thread_name_prefix="destinations")
    try:
        answers = [(destination, pool.submit(_ask, ports, owner, destination)) for destination in asked]
        wait([future for _, future in answers], timeout=TOTAL_SECONDS)
        for destination, future in answers:
            yield _answer(destination, future)
    finally:
        # What still waits for an answer ends by itself: every call is bounded.
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(destination: AnyDestination, future: Future[Finding]) -> Finding:
    if not future.done():
        return _unreached(destination, "it gave no answer in time", "")
    return future.result()


def _ask(ports: Ports, owner: str, destination: AnyDestination) -> Finding:
    where = label(destination)
    secret: Secret | None = None
    try:
        credential = find_credential(ports, owner, CredentialKind(destination.kind), destination.credential)
        secret = load_secret(ports, credential)
        named = destination.model_copy(update={"credential": credential.name})
        found = ports.targets(named, secret).check(seconds=SECONDS)
    except ValidationFailed:
        # The draft's own problems say that the credential is missing.
        return _unreached(destination, "its credential is missing", "")
    except DeliveryFault as fault:
        message, advice = (without_secret(text, secret)[:MAX_TEXT] for text in (fault.message, fault.advice))
        if fault.retry:
            return _unreached(destination, message, advice)
        return Finding(Level.ERROR, f"destination_{fault.code}", CHECK, "destinations", f"{where}: {message}", advice)
    except AppError as error:
        return _unreached(destination, error.detail, "")
    except Exception as error:  # noqa: BLE001 - an adapter's defect is no answer, and must fail no submit
        # Not its text: that may hold an address with a signature, or the secret.
        logger.error("the check of a destination failed: %s", type(error).__name__)  # noqa: TRY400
        return _unreached(destination, "something went wrong on our side", "")
    facts = "; ".join(without_secret(fact, secret) for fact in found.facts)[:MAX_TEXT]
    return Finding(Level.NOTE, "destination_checked", CHECK, "destinations", f"{where}: {facts or 'lets us in'}.", "")


def _unreached(destination: AnyDestination, why: str, advice: str) -> Finding:
    return Finding(
        Level.NOTE,
        NOT_REACHED,
        CHECK,
        "destinations",
        f"{label(destination)} could not be checked: {why.rstrip('.')}. The delivery is tried for days all the same.",
        advice,
    )
