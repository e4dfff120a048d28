"""Named credentials: finding one, reading its secret, and keeping them.

Secret and record are two stores. A secret is written under a name of its own before the record names it, and removed
before the record goes: whatever breaks off in between leaves nothing that can be used by half, and what nobody names
is removed with the next rotation or deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib.domain.credential_secrets import (
    BadSecretError,
    Checked,
    Given,
    checked,
    document_of,
    hint_of,
    rotated,
    secret_of,
)
from chalicelib.domain.credentials import MAX_CREDENTIALS, Credential, CredentialKind, Secret
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.ports import Ports, SlotsFullError, StaleRecordError
from chalicelib.domain.redaction import redact
from chalicelib.errors import Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from chalicelib.services.credential_uses import uses

logger = logging.getLogger(__name__)

#: A secret that was stored a moment ago may not be seen yet.
SETTLES_WITHIN = timedelta(minutes=2)
MAX_TRIES = 5

_HOW: Mapping[CredentialKind, str] = {
    CredentialKind.HUGGINGFACE: "--kind huggingface",
    CredentialKind.S3: "--kind s3 --access-key-id ID",
    CredentialKind.WEBHOOK: "--kind webhook",
}


# --- for whoever delivers -----------------------------------------------------------------------------------------
def find_credential(
    ports: Ports, owner: str, kind: CredentialKind, name: str | None, *, access_key_id: str | None = None
) -> Credential:
    """The credential ``name``, or without a name the owner's only one of ``kind`` (of kind s3: of this access key).

    Raises ValidationFailed, which says what to do: ``credential_missing``, ``credential_kind`` (that name is of another
    kind), ``credential_ambiguous``.
    """
    add = f"stcloud credentials add {name or 'NAME'} {_HOW[kind]}"
    if access_key_id is not None:
        add = add.replace("--access-key-id ID", f"--access-key-id {access_key_id}")
    if name is not None:
        found = ports.credentials.get(owner, name)
        if found is None:
            raise _unusable("credential_missing", f"There is no credential '{name}'. Store it: {add}")
        if found.kind is not kind:
            raise _unusable(
                "credential_kind", f"The credential '{name}' is of kind {found.kind}; {kind} is needed here."
            )
        return found
    fit = [c for c in ports.credentials.list_of(owner) if c.kind is kind and access_key_id in {None, c.hint}]
    if len(fit) == 1:
        return fit[0]
    if not fit:
        which = f" with the access key {access_key_id}" if access_key_id else ""
        raise _unusable("credential_missing", f"You have no credential of kind {kind}{which}. Store one: {add}")
    names = ", ".join(c.name for c in fit)
    raise _unusable(
        "credential_ambiguous", f"You have several credentials of kind {kind}; name one as `credential`: {names}"
    )


def load_secret(ports: Ports, credential: Credential) -> Secret:
    """Its secret, as it is now: also when it was rotated since the record was read.

    Raises DeliveryFault ``credential_missing``, Unavailable.
    """
    secret = _read(ports, credential)
    if secret is None:
        current = ports.credentials.get(credential.owner, credential.name)
        if current is not None and current.kind is credential.kind and current.secret_id != credential.secret_id:
            credential, secret = current, _read(ports, current)
    if secret is not None:
        return secret
    name = credential.name
    raise DeliveryFault(
        "credential_missing",
        f"The secret of the credential '{name}' is not there (any more).",
        f"Store it again: stcloud credentials rotate {name}. If the credential was deleted: stcloud credentials add "
        f"{name} {_HOW[credential.kind]}",
        retry=ports.clock.now() - credential.stored_at < SETTLES_WITHIN,
    )


def _read(ports: Ports, credential: Credential) -> Secret | None:
    document = ports.secrets.get(credential.owner, credential.secret_name)
    return None if document is None else secret_of(credential.kind, document)


def _unusable(code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, code=code, errors=[FieldError("credential", detail, code)])


# --- keeping ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kept:
    """``made`` is a signing secret that was made here and is shown this once; ``repr`` hides it."""

    credential: Credential
    warnings: tuple[str, ...] = ()
    made: str | None = field(default=None, repr=False)


class CredentialService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def list(self, owner: str) -> Sequence[Credential]:
        """By name."""
        return self._ports.credentials.list_of(owner)

    def get(self, owner: str, name: str) -> Credential:
        """Raises NotFound."""
        found = self._ports.credentials.get(owner, name)
        if found is None:
            raise NotFound(f"Credential not found: {name}", code="credential_not_found")
        return found

    def uses(self, owner: str, name: str) -> Sequence[str]:
        return uses(self._ports, owner, name)

    def create(self, owner: str, name: str, kind: CredentialKind, given: Given) -> Kept:
        """Raises ValidationFailed, Conflict (``credential_exists``, ``too_many_credentials``)."""
        if redact(name) != name:
            text = "looks like a secret. Names are shown: choose another, and give the secret where it belongs."
            raise ValidationFailed(f"name: {text}", code="secret_as_name", errors=[FieldError("name", text, "secret")])
        new = self._checked(kind, given)
        if self._ports.credentials.get(owner, name) is not None:
            raise _exists(name)
        now = self._ports.clock.now()
        credential = Credential(
            owner=owner,
            name=name,
            kind=kind,
            hint=hint_of(new.secret),
            created_at=now,
            updated_at=now,
            secret_id=self._secret_id(1),
        )

        def too_many() -> Conflict:
            return Conflict(
                f"You have {MAX_CREDENTIALS} credentials, which is the limit. Delete one you don't need: stcloud "
                "credentials list",
                code="too_many_credentials",
            )

        self._store(credential, new, self._ports.credentials.create, lambda: _exists(name), too_many)
        return Kept(credential, tuple(new.warnings), new.made)

    def rotate(self, owner: str, name: str, given: Given, *, keep_previous: bool) -> Kept:
        """A new secret in the place of the old one, for everything that names the credential. What was tested is
        forgotten. With ``keep_previous`` the last signing secret of a webhook goes on signing beside the new one.

        Raises NotFound, ValidationFailed, Conflict (``changed_meanwhile``).
        """
        old = self.get(owner, name)
        if old.kind is CredentialKind.S3 and given.access_key_id is None:
            given = replace(given, access_key_id=old.hint)
        new = rotated(_read(self._ports, old) if keep_previous else None, self._checked(old.kind, given), keep=True)
        now, version = self._ports.clock.now(), old.secret_version + 1
        credential = old.changed(
            now,
            hint=hint_of(new.secret),
            rotated_at=now,
            secret_version=version,
            secret_id=self._secret_id(version),
            tested_at=None,
            test_passed=None,
            facts=(),
        )

        def changed() -> Conflict:
            return Conflict(
                f"The credential '{name}' changed at this very moment. Look at it, and repeat if need be.",
                code="changed_meanwhile",
            )

        self._store(credential, new, self._ports.credentials.update, changed, changed)
        self._prune(credential)
        return Kept(credential, tuple(new.warnings), new.made)

    def delete(self, owner: str, name: str, *, force: bool) -> Sequence[str]:
        """Removes secret and record; returns what still names it. Raises NotFound, Conflict (``credential_in_use``)."""
        self.get(owner, name)
        used = self.uses(owner, name)
        if used and not force:
            shown = "; ".join(used[:3]) + ("; …" if len(used) > 3 else "")
            raise Conflict(
                f"The credential '{name}' is in use: {shown}. Wait or cancel these, or delete it all the same with "
                "force=true: they will fail then.",
                code="credential_in_use",
                extra={"used_by": used},
            )
        remove(self._ports, owner, name)
        return used

    def _checked(self, kind: CredentialKind, given: Given) -> Checked:
        try:
            return checked(kind, given, self._ports.ids.token)
        except BadSecretError as bad:
            raise ValidationFailed(
                f"{bad.field}: {bad.message}", errors=[FieldError(bad.field, bad.message, bad.code)]
            ) from None

    def _secret_id(self, version: int) -> str:
        return f"{version:06d}-{self._ports.ids.token()}"

    def _store(
        self,
        credential: Credential,
        new: Checked,
        write: Callable[[Credential], None],
        stale: Callable[[], Conflict],
        full: Callable[[], Conflict],
    ) -> None:
        """The secret, then the record that names it. When the record can't be written the secret goes again; when
        nobody knows whether it was written, it stays: the record may name it."""
        secrets = self._ports.secrets
        secrets.put(credential.owner, credential.secret_name, document_of(new.secret))
        try:
            write(credential)
        except (StaleRecordError, SlotsFullError) as refused:
            secrets.delete(credential.owner, credential.secret_name)
            raise (full if isinstance(refused, SlotsFullError) else stale)() from None

    def _prune(self, credential: Credential) -> None:
        """Removes secrets of earlier versions. Later ones may be about to be named by somebody."""
        try:
            for name in self._ports.secrets.names(credential.owner, credential.name):
                if _version_of(name) < credential.secret_version:
                    self._ports.secrets.delete(credential.owner, name)
        except Unavailable:
            # Nothing names them; the next rotation or deletion removes them.
            logger.warning("earlier secrets of a credential were not removed")


def remove(ports: Ports, owner: str, name: str) -> None:
    """Removes a credential, the secret first. No effect when there is none. Raises Unavailable, StaleRecordError."""
    for _ in range(MAX_TRIES):
        credential = ports.credentials.get(owner, name)
        if credential is None:
            return
        for secret in {credential.secret_name, *ports.secrets.names(owner, name)}:
            ports.secrets.delete(owner, secret)
        try:
            ports.credentials.delete(credential)
        except StaleRecordError:
            continue  # It was tested or rotated just now.
        return
    raise StaleRecordError(name)


def forget_owner(ports: Ports, owner: str) -> None:
    """Removes all credentials of somebody who is deleted, and every other secret of theirs. Safe to repeat."""
    for credential in ports.credentials.list_of(owner):
        remove(ports, owner, credential.name)
    for name in ports.secrets.names(owner):
        ports.secrets.delete(owner, name)


def _version_of(secret_name: str) -> int:
    number = secret_name.rsplit("/", 1)[-1].partition("-")[0]
    # What is none of ours stays.
    return int(number) if number.isascii() and number.isdigit() else 1_000_000_000


def _exists(name: str) -> Conflict:
    return Conflict(
        f"There is a credential '{name}' already. Give it a new secret: stcloud credentials rotate {name}",
        code="credential_exists",
        errors=[FieldError("name", "is taken", "exists")],
    )
