"""Credentials that change their owner: what was stored before there was an admin."""

from __future__ import annotations

from chalicelib.domain.credentials import MAX_CREDENTIALS, Credential
from chalicelib.domain.ports import Ports, SlotsFullError, StaleRecordError
from chalicelib.services.credential_uses import at_work
from chalicelib.services.credentials import remove

_MAX_NAME = 63


def hand_over(ports: Ports, former: str, owner: str) -> int:
    """Gives the credentials of ``former`` to ``owner``; returns how many. Safe to repeat after it broke off.

    They keep their names, unless the new owner has another one of that name: then ``-<former>`` is put behind it. What
    is at work waits, and so does what finds no room.
    """
    found = ports.credentials.list_of(former)[:MAX_CREDENTIALS]
    return sum(_moved(ports, c, owner) for c in found if not at_work(ports, former, c.name))


def _moved(ports: Ports, credential: Credential, owner: str) -> bool:
    former = credential.owner
    for name in (credential.name, f"{credential.name[: _MAX_NAME - len(former) - 1]}-{former}"):
        there = ports.credentials.get(owner, name)
        if there is not None and there.secret_id != credential.secret_id:
            continue
        moved = credential.model_copy(update={"owner": owner, "name": name, "revision": 1})
        # The same secret under the same id, so that an interrupted move is recognised and goes on.
        secret = ports.secrets.get(former, credential.secret_name)
        if secret is not None:
            ports.secrets.put(owner, moved.secret_name, secret)
        if there is None:
            if secret is None:
                return False
            try:
                ports.credentials.create(moved)
            except (StaleRecordError, SlotsFullError):
                ports.secrets.delete(owner, moved.secret_name)
                return False
        remove(ports, former, credential.name)
        return True
    return False
