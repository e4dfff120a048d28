"""API keys: ``stk_<id>_<secret><checksum>``. Found by id, known by the hash of their secret, shown once.

The id is 13 characters for the person and 10 for the key, so that one read finds both. The secret has 32 characters of
base 62 (190 bits), so a fast hash is enough: there is nothing to guess. The checksum (CRC-32, six characters) lets a
typing error, or a scanner's false find, be refused without asking the database; it protects nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.people import Person, handle_of
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, CallerKind, Permission, Principal, granted

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
HANDLE_LENGTH, SERIAL_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 13, 10, 32, 6
#: For secret scanners; published in SECURITY.md.
KEY_PATTERN = r"stk_[a-z2-7]{13}[0-9A-Za-z]{10}_[0-9A-Za-z]{38}"
_KEY = re.compile(KEY_PATTERN)
#: A use is recorded at most this often.
LAST_USED_EVERY = timedelta(minutes=10)
MAX_KEYS_PER_PERSON = 50


@dataclass(frozen=True)
class PresentedKey:
    """A key as sent, with a right checksum. ``repr`` hides the secret."""

    handle: str
    key_id: str
    secret: str = field(repr=False)

    @property
    def secret_sha256(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()


class ApiKey(BaseModel):
    """One key as stored. ``scopes`` None means: whatever its owner may do (but see PEOPLE_ONLY).

    ``budget_usd`` bounds what all its jobs may cost, ``providers`` where it may submit; None means no bound. What they
    cost is counted under ``budget_id`` (None: the key's own id), which a rotation hands on: a new secret is no new
    money. ``replaced_by`` is the key that a rotation made in its place; there is one at most. ``prefix`` is what a
    person recognises it by. ``repr`` hides the hash.
    """

    model_config = ConfigDict(frozen=True)

    key_id: str
    user_id: str
    name: str
    prefix: str
    secret_sha256: str = Field(repr=False)
    scopes: frozenset[Permission] | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    budget_usd: Decimal | None = None
    budget_id: str | None = None
    providers: frozenset[str] | None = None
    replaced_by: str | None = None

    @property
    def spends_as(self) -> str:
        """The id under which the cost of its jobs is counted."""
        return self.budget_id or self.key_id

    @property
    def ends_at(self) -> datetime:
        """When it stopped or will stop to work; the end of time when nothing says so."""
        ends = [moment for moment in (self.revoked_at, self.expires_at) if moment is not None]
        return min(ends, default=datetime.max.replace(tzinfo=UTC))

    def knows(self, presented: PresentedKey) -> bool:
        """Whether it is this key and this secret; takes the same time whatever the secret."""
        same_id = self.key_id == presented.key_id
        return hmac.compare_digest(self.secret_sha256.encode(), presented.secret_sha256.encode()) and same_id

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def checksum(body: str) -> str:
    """Six characters of base 62 for the CRC-32 of ``body``."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        digits = ALPHABET[rest] + digits
    return digits


def compose(user_id: str, serial: str, secret: str) -> str:
    """The key as its owner gets to see it. ``serial`` and ``secret`` are random, of ALPHABET."""
    body = f"stk_{handle_of(user_id)}{serial}_{secret}"
    return body + checksum(body)


def parse(text: str) -> PresentedKey | None:
    """The parts of a well-formed key with a right checksum; None otherwise. No secret reaches an exception."""
    if not _KEY.fullmatch(text):
        return None
    body, check = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    if checksum(body) != check:
        return None
    _, key_id, secret = body.split("_")
    return PresentedKey(handle=key_id[:HANDLE_LENGTH], key_id=key_id, secret=secret)


def permissions_of(scopes: Iterable[Permission] | None, person: Person) -> frozenset[Permission]:
    """What a key may do now: never more than its owner, and nothing that is for people only."""
    if not person.active:
        return frozenset()
    owned = granted(ROLES[person.role])
    wanted = owned if scopes is None else granted(scopes)
    return (owned & wanted) - PEOPLE_ONLY


def principal_of(key: ApiKey, person: Person) -> Principal:
    return Principal(
        owner=key.user_id,
        permissions=permissions_of(key.scopes, person),
        kind=CallerKind.KEY,
        name=person.username,
        key_id=key.key_id,
        providers=key.providers,
        budget_usd=key.budget_usd,
        budget_id=key.spends_as,
    )
