"""People: inviting, roles, deactivating, removing. Their profile here is the authority; the user pool follows it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from chalicelib.domain.access_ports import LastAdminError, PasswordRefusedError, UnknownUserError, UserExistsError
from chalicelib.domain.audit import AuditAction, AuditRecord, AuditResult
from chalicelib.domain.people import Person
from chalicelib.domain.permissions import ROLES, CallerKind, Permission, Principal, Role, granted
from chalicelib.domain.ports import InvalidCursorError, Ports
from chalicelib.errors import (
    AuthenticationError,
    BadRequest,
    Conflict,
    FieldError,
    NotFound,
    PermissionDenied,
    ValidationFailed,
)
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.channels import forget_channels
from chalicelib.services.credentials import forget_owner
from chalicelib.services.doors import Doors

#: What the audit calls somebody who typed a name and proved nothing.
NAME_PREFIX = "name:"
_NAME_DIGITS = 32
#: People whose names are looked up for one page of the audit.
MAX_NAMES = 500


def typed_name(username: str, key: bytes) -> str:
    """What stands for a user name that somebody typed: people type passwords there by mistake. ``key`` is the stack's
    (``DoorSecrets.name_key``): without it nobody can try which text it was, and the same text is everywhere the same
    """
    text = username.strip().lower().encode("utf-8", "surrogatepass")
    return NAME_PREFIX + hmac.new(key, b"name:" + text, hashlib.sha256).hexdigest()[:_NAME_DIGITS]


class PeopleService:
    def __init__(self, ports: Ports, doors: Doors, audit: AuditService) -> None:
        self._ports = ports
        self._doors = doors
        self._audit = audit

    def standing(self, who: Principal, permission: Permission) -> Person:
        """The caller's own profile, read now, for what gives rights to others.

        A session says what its person was when it began; up to 15 minutes later it must not hand on what is lost.
        Raises AuthenticationError, PermissionDenied; Conflict (``setup_needed``) for callers that are no person.
        """
        if who.kind not in {CallerKind.SESSION, CallerKind.KEY}:
            raise Conflict(
                "This belongs to a person, and there is none yet. Make the first admin: stcloud setup, or POST "
                "/api/auth/setup/first-admin. Then sign in.",
                code="setup_needed",
            )
        person = self._doors.access.get_person(who.owner)
        if person is None or not person.active:
            raise AuthenticationError("This account is not active any more.", code="account_inactive")
        if permission not in granted(ROLES[person.role]):
            raise PermissionDenied(
                f"This needs the permission {permission.value}, which you do not have any more.",
                extra={"permission": permission},
            )
        return person

    def find(self, user_id: str) -> Person | None:
        return self._doors.access.get_person(user_id)

    def get(self, user_id: str) -> Person:
        """Raises NotFound."""
        person = self.find(user_id)
        if person is None:
            raise NotFound(f"User not found: {user_id}", code="user_not_found")
        return person

    def list(self, *, limit: int, cursor: str | None) -> tuple[Sequence[Person], str | None]:
        """By user name. Raises BadRequest (cursor)."""
        try:
            return self._doors.access.list_people(limit=limit, cursor=cursor)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None

    def with_names(self, records: Sequence[AuditRecord]) -> Sequence[AuditRecord]:
        """The records as shown: a refused sign-in with the user's name, when one of our people has it."""
        if not any(r.actor_id.startswith(NAME_PREFIX) for r in records):
            return records
        people, _ = self._doors.access.list_people(limit=MAX_NAMES)
        key = self._doors.secrets.name_key()
        names = {typed_name(p.username, key): p.username for p in people}
        return [r.model_copy(update={"actor_name": names.get(r.actor_id, r.actor_name)}) for r in records]

    def invite(
        self,
        actor: Actor,
        who: Principal,
        *,
        username: str,
        email: str,
        role: Role,
        display_name: str | None = None,
        password: str | None = None,
        temporary: bool = False,
    ) -> Person:
        """Creates a person. Without a password the user pool mails an invitation with a temporary one; a ``temporary``
        one has to be replaced at the first sign-in.

        Raises Conflict (``user_exists``), ValidationFailed (``weak_password``).
        """
        self.standing(who, Permission.USER_MANAGE)
        details = {"username": username, "role": role.value}
        self._audit.record(actor, AuditAction.USER_INVITE, AuditResult.ALLOWED, target="user:new", details=details)
        try:
            user_id = self._doors.pool.create(username, email, password=password, role=role, temporary=temporary)
        except UserExistsError:
            raise user_exists() from None
        except PasswordRefusedError as refused:
            raise weak_password(refused) from None
        person = Person(
            user_id=user_id,
            username=username,
            email=email,
            display_name=display_name,
            role=role,
            created_at=self._ports.clock.now(),
        )
        try:
            self._doors.access.put_person(person)
        except Exception:
            # A user without profile would be nobody; taken back whatever went wrong, unless the answer alone was lost.
            if self._doors.access.get_person(user_id) is None:
                self._doors.pool.delete(username, only=user_id)
                raise
        return person

    def change(
        self, actor: Actor, who: Principal, user_id: str, *, role: Role | None, display_name: str | None
    ) -> Person:
        """Changes role or display name. Keys follow at once, sessions when they end or are refreshed (15 minutes).

        Of the profile's role and the pool's the weaker counts. So what takes begins here and what gives begins in the
        pool: when it breaks off half way the smaller right holds, and repeating it finishes it. Raises NotFound,
        Conflict (``last_admin``).
        """
        self.standing(who, Permission.USER_MANAGE)
        person = self.get(user_id)
        update: dict[str, object] = {} if display_name is None else {"display_name": display_name}
        if role is not None and role is not person.role:
            update["role"] = role
            details = {"username": person.username, "from": person.role.value, "to": role.value}
            self._record(actor, AuditAction.USER_ROLE, person, details)
        if display_name not in {None, person.display_name}:
            # Without the names: people write there what they like.
            details = {"username": person.username, "changed": "display_name"}
            self._record(actor, AuditAction.USER_CHANGE, person, details)
        changed = person.model_copy(update=update)
        # The pool also when the profile says so already: it could perhaps not be reached the last time.
        if role is not None and len(ROLES[role]) > len(ROLES[person.role]):
            self._in_pool(lambda: self._doors.pool.set_role(person.username, role))
            self._put(changed, person)
            return changed
        if update:
            self._put(changed, person)
        if role is not None:
            self._in_pool(lambda: self._doors.pool.set_role(person.username, role))
        return changed

    def temporary_password(self) -> str:
        """A new one that fits the user pool's policy, with 95 bits that nobody can guess."""
        return "-".join(("Temp1", *(self._doors.random_text(4) for _ in range(4))))

    def reset_password(self, actor: Actor, who: Principal, user_id: str, *, password: str | None) -> Person:
        """Gives a person a temporary password, or has the user pool mail one; the old one and all sessions end.

        Raises NotFound, Conflict (``own_password``, ``user_not_in_pool``).
        """
        admin = self.standing(who, Permission.USER_MANAGE)
        person = self.get(user_id)
        if admin.user_id == person.user_id:
            # What resets the own one without asking for it would turn a borrowed session into the account.
            raise Conflict("This is yourself. Change your password: stcloud password", code="own_password")
        self._record(actor, AuditAction.USER_RESET_PASSWORD, person, {"username": person.username})
        self._in_pool(lambda: self._doors.pool.reset_password(person.username, password))
        return person

    def set_active(self, actor: Actor, who: Principal, user_id: str, *, active: bool) -> Person:
        """Deactivating ends keys at once and sessions within 15 minutes; nothing is lost, and it can be undone. In the
        order of ``change``, and for its reason.

        Raises NotFound, Conflict (``last_admin``).
        """
        self.standing(who, Permission.USER_MANAGE)
        person = self.get(user_id)
        action = AuditAction.USER_REACTIVATE if active else AuditAction.USER_DEACTIVATE
        self._record(actor, action, person, {"username": person.username})
        changed = person.model_copy(update={"active": active})
        if active:
            # A deactivation that did not reach the pool left sessions there; they must not live again.
            self._doors.pool.sign_out_everywhere(person.username)
            self._in_pool(lambda: self._doors.pool.set_enabled(person.username, enabled=True))
            self._put(changed, person)
        else:
            self._put(changed, person)
            self._in_pool(lambda: self._doors.pool.set_enabled(person.username, enabled=False))
        return changed

    def delete(self, actor: Actor, who: Principal, user_id: str) -> None:
        """Removes profile, keys, credentials, channels and user. What else they own stays, and admins see it.

        Deactivated first, so that nothing of theirs works whatever happens then; the profile goes last, so that a
        removal that broke off can be repeated. Nobody comes back under the same id. Raises NotFound, Conflict
        (``last_admin``; ``user_has_active_jobs``: they would run on with nobody to answer).
        """
        self.standing(who, Permission.USER_MANAGE)
        person = self.get(user_id)
        active = [job for job_id in self._ports.jobs.slot_holders(user_id) if (job := self._ports.jobs.get(job_id))]
        if any(job.is_active for job in active):
            raise Conflict(
                f"{person.username} has active jobs. Cancel them first, or deactivate the person for now.",
                code="user_has_active_jobs",
            )
        self._record(actor, AuditAction.USER_DELETE, person, {"username": person.username})
        if person.active:
            self._put(person.model_copy(update={"active": False}), person)
        self._doors.pool.delete(person.username, only=user_id)
        forget_channels(self._ports, user_id)
        forget_owner(self._ports, user_id)
        try:
            self._doors.access.delete_person(user_id)
        except LastAdminError:
            raise last_admin() from None

    def _put(self, changed: Person, person: Person) -> None:
        try:
            self._doors.access.put_person(changed, replaces=person)
        except LastAdminError:
            raise last_admin() from None

    def _record(self, actor: Actor, action: AuditAction, person: Person, details: dict[str, str]) -> None:
        target = f"user:{person.user_id}"
        self._audit.record(actor, action, AuditResult.ALLOWED, target=target, owner=person.user_id, details=details)

    @staticmethod
    def _in_pool(call: Callable[[], None]) -> None:
        try:
            call()
        except UnknownUserError:
            raise Conflict(
                "The user pool does not know this person any more. Delete the person here, then invite them again.",
                code="user_not_in_pool",
            ) from None


def user_exists() -> Conflict:
    return Conflict(
        "There is a user of this name or address already.",
        code="user_exists",
        errors=[FieldError("username", "is taken, or the address is", "exists")],
    )


def weak_password(refused: PasswordRefusedError) -> ValidationFailed:
    """The user pool's own words, which say what is missing and never repeat the password."""
    detail = str(refused.args[0]) if refused.args else "The password does not fit the password policy."
    return ValidationFailed(detail, code="weak_password", errors=[FieldError("password", detail, "weak_password")])


def last_admin() -> Conflict:
    return Conflict(
        "This is the last active admin, and nobody could let people in any more. Make somebody else an admin first.",
        code="last_admin",
    )
