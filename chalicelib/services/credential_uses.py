"""What names a credential. Whoever lets a record name one adds a function here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chalicelib.domain.ports import Ports

#: Gives one line for people for each thing of ``owner`` that names the credential, like ``delivery d-4mq1-1 of job
#: 4mq1``. Bounded in what it reads.
Finder = Callable[[Ports, str, str], Sequence[str]]

#: What is at work with a credential now, or will be by itself: open deliveries, active jobs.
AT_WORK: tuple[Finder, ...] = ()
#: What will want it once somebody does something: saved defaults, notification channels.
SAVED: tuple[Finder, ...] = ()


def at_work(ports: Ports, owner: str, name: str, finders: Sequence[Finder] = AT_WORK) -> list[str]:
    """What would break off or fail now without the credential."""
    return [use for find in finders for use in find(ports, owner, name)]


def uses(ports: Ports, owner: str, name: str) -> list[str]:
    """Everything that names the credential ``name`` of ``owner``, one line each, for people."""
    return [*at_work(ports, owner, name), *at_work(ports, owner, name, SAVED)]
