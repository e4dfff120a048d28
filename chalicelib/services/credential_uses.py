"""What names a credential. Whoever lets a record name one adds a function here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from chalicelib.domain.credentials import Credential
from chalicelib.domain.delivery_ports import AnyDestination
from chalicelib.domain.destinations import label
from chalicelib.domain.ports import Ports

#: Gives one line for people for each thing of ``owner`` that names the credential. Bounded in what it reads.
Finder = Callable[[Ports, str, str], Sequence[str]]

#: Open deliveries of everybody that are looked at. Of more than that some are not found, and fail with advice.
MAX_DELIVERIES = 1_000
_PAGE = 100


def wants(credential: Credential, destination: AnyDestination, resolved: str | None = None) -> bool:
    """Whether this destination is reached with the credential: it is named, or was found, or is of the kind that will
    be looked for."""
    named = resolved or destination.credential
    return destination.kind == credential.kind.value and named in {None, credential.name}


def open_deliveries(ports: Ports, owner: str, name: str) -> Sequence[str]:
    credential = ports.credentials.get(owner, name)
    if credential is None:
        return []
    return [
        f"the delivery {delivery_id} to {label(destination)}"
        for of, delivery_id, destination, resolved in _open(ports)
        if of == owner and wants(credential, destination, resolved)
    ]


def active_jobs(ports: Ports, owner: str, name: str) -> Sequence[str]:
    credential = ports.credentials.get(owner, name)
    if credential is None:
        return []
    jobs = [job for job_id in sorted(ports.jobs.slot_holders(owner)) if (job := ports.jobs.get(job_id))]
    return [
        f"the job {job.job_id}, which goes to {label(wish.destination)}"
        for job in jobs
        if job.is_active
        for wish in job.destinations
        if wants(credential, wish.destination)
    ]


def delivery_defaults(ports: Ports, owner: str, name: str) -> Sequence[str]:
    credential = ports.credentials.get(owner, name)
    if credential is None:
        return []
    defaults = ports.owner_settings.get(owner).destinations
    return [f"your default destination {label(d)}" for d in defaults if wants(credential, d)]


#: What is at work with a credential now, or will be by itself.
AT_WORK: tuple[Finder, ...] = (open_deliveries, active_jobs)
#: What will want it once somebody does something: saved defaults.
SAVED: tuple[Finder, ...] = (delivery_defaults,)


def at_work(ports: Ports, owner: str, name: str, finders: Sequence[Finder] = AT_WORK) -> list[str]:
    """What would break off or fail now without the credential."""
    return [use for find in finders for use in find(ports, owner, name)]


def uses(ports: Ports, owner: str, name: str) -> list[str]:
    """Everything that names the credential ``name`` of ``owner``, one line each, for people."""
    return [*at_work(ports, owner, name), *at_work(ports, owner, name, SAVED)]


def _open(ports: Ports) -> Iterator[tuple[str, str, AnyDestination, str | None]]:
    after: str | None = None
    for _ in range(MAX_DELIVERIES // _PAGE):
        page = ports.deliveries.list_open(limit=_PAGE, after=after)
        yield from ((d.owner, d.delivery_id, d.destination, d.resolved_credential) for d in page if not d.is_over)
        if len(page) < _PAGE:
            return
        after = page[-1].delivery_id
