"""``stcloud login``, ``logout``, ``whoami``, ``setup`` and ``password``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

import typer

from stcloud.errors import AuthenticationError, Conflict, StcloudError, UsageError
from stcloud.profiles import server_of
from stcloud.session import PIPED, PasswordStdin, Session, command
from stcloud.signin import credential_of, end_session, kept_by, read_key, remember, sign_in, with_new_password
from stcloud.target import Target
from stcloud.vault import Credential

app = typer.Typer()

_BY_MACHINES = f"{PIPED}. Machines use an API key: in STCLOUD_TOKEN, or stcloud login --with-key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,63}")
_MAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


@command(app, "login")
def login(
    session: Session,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="Your name. [default: asked for]")
    ] = None,
    with_key: Annotated[bool, typer.Option("--with-key", help="Read an API key from stdin instead.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Sign in to a server, in any terminal: name, password, and a code if you have a second factor.

    The session is kept in the system's keyring or in a file that only you can read, and renews itself for 30 days.
    With --profile the server gets that name; it is then the one that commands use.
    """
    target = session.find_target(may_be_new=True)
    if with_key:
        if username is not None:
            raise UsageError("--username and --with-key don't go together: a key knows its owner.")
        _login_with_key(session, target)
        return
    session.answers_piped = password_stdin
    session.output.note(f"Signing in to {target.url}")
    with session.stranger(target.url) as access:
        if access.setup_status()["needs_setup"]:
            raise _nobody_yet(target.url)
        known = target.profile.username if target.profile else ""
        name = username or _asked_name(session, known)
        try:
            answer = sign_in(session, access, name, session.ask("Password", hidden=True, instead=_BY_MACHINES))
        except AuthenticationError as refused:
            refused.advice = "Look at the name and the password. An admin can invite you, or reset your password."
            raise
    _kept(session, target, credential_of(target, answer), answer["user"])


def _asked_name(session: Session, known: str) -> str:
    if known:
        session.output.note(f"As {known} (someone else: --username NAME)")
        return known
    return session.ask("User name", instead="--username NAME")


def _nobody_yet(url: str) -> StcloudError:
    return Conflict(
        409,
        "Nobody yet",
        f"There is nobody yet on {url}.",
        code="needs_setup",
        advice=f"Make the first admin: stcloud setup --url {url}",
    )


def _login_with_key(session: Session, target: Target) -> None:
    key = read_key(session)
    with session.stranger(target.url, key) as access:
        me = access.me()
    _kept(session, target, Credential(server_of(target.url), key), me)


def _kept(session: Session, target: Target, credential: Credential, user: dict[str, Any]) -> None:
    profile = remember(session, target, credential, str(user["username"]))
    if session.runtime.environ.get("STCLOUD_TOKEN"):
        session.output.warn("STCLOUD_TOKEN is set and wins over this sign-in. Unset it to use the sign-in.")
    data = {"profile": profile.name, "url": profile.url, "username": profile.username, "role": user["role"]}
    session.output.result(data, f"{profile.username} at {profile.url}, profile {profile.name}")


@command(app, "logout")
def logout(
    session: Session,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="End all your sessions, on all computers.")] = False,
) -> None:
    """Sign out: end the session at the server and forget it here."""
    target = session.target
    profile = target.profile
    if target.token is not None:
        session.output.warn("The token in STCLOUD_TOKEN is not kept here, and stays good.")
    if profile is None or profile.place is None:
        session.output.result({"signed_out": False}, f"Nobody is signed in to {target.url}.")
        return
    try:
        credential = kept_by(session, profile)
        if credential is not None and credential.refresh is not None:
            end_session(session, profile.url, credential.refresh, everywhere=everywhere)
        elif credential is not None:
            session.output.warn("The API key itself stays good. Revoke it: stcloud keys revoke ID")
    finally:
        session.runtime.vault.forget(profile)
        profiles = session.runtime.profile_file.read()
        session.runtime.profile_file.write(profiles.having(replace(profile, place=None)))
    session.output.result({"signed_out": True, "profile": profile.name}, f"Signed out of {profile.url}.")


def _wrong_name(name: str) -> str | None:
    if _NAME.fullmatch(name.strip()):
        return None
    return "A user name has 2 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit."


def _wrong_mail(mail: str) -> str | None:
    return None if _MAIL.fullmatch(mail.strip()) else f"'{mail}' is no mail address."


def _wrong_code(code: str) -> str | None:
    return None if code.strip() else "The deployment printed the setup code: it begins with setup_."


@command(app, "whoami")
def whoami(session: Session) -> None:
    """Show who you are at the server, by what, and what you may do."""
    me = session.access.me()
    target = session.target
    by = {
        "session": "signed in",
        "key": f"API key {me['key_id']}",
        "local": "this computer's own stack, before its first admin",
        "deploy_token": "the deploy token",
    }.get(me["kind"], me["kind"])
    lines = [
        ("user", me["username"]),
        ("role", me["role"]),
        ("by", by),
        ("server", target.url),
        ("profile", target.profile.name if target.profile and target.token is None else None),
        ("may", ", ".join(me["permissions"])),
    ]
    data = {**me, "url": target.url, "profile": target.profile.name if target.profile else None}
    session.output.result(data, "\n".join(f"{name:<10} {value}" for name, value in lines if value))


@command(app, "setup")
def setup(
    session: Session,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="The admin's name. [default: asked for]")
    ] = None,
    email: Annotated[
        str | None, typer.Option("--email", metavar="MAIL", help="The admin's mail. [default: asked for]")
    ] = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Make the first admin of a server, and sign in.

    A hosted server wants the one-time code that the deployment printed. From then on everybody has to sign in, also on
    this computer's own stack.
    """
    session.answers_piped = password_stdin
    target = session.find_target(may_be_new=True)
    for wrong in (username and _wrong_name(username), email and _wrong_mail(email)):
        if wrong:
            raise UsageError(wrong)
    with session.stranger(target.url, target.token) as access:
        status = access.setup_status()
        if not status["needs_setup"]:
            raise UsageError(f"{target.url} has an admin already.", advice="Sign in: stcloud login")
        session.output.note(f"The first admin of {target.url}")
        body: dict[str, Any] = {
            "username": username or session.ask("User name", instead="--username NAME", check=_wrong_name),
            "email": email or session.ask("Mail address", instead="--email MAIL", check=_wrong_mail),
        }
        if status["setup_code_required"] and target.token is None:
            body["setup_code"] = session.ask("Setup code", hidden=True, instead=PIPED, check=_wrong_code).strip()
        chosen: list[str] = []

        def use(password: str) -> dict[str, Any]:
            chosen[:] = [password]
            return access.first_admin({**body, "password": password})

        made = with_new_password(session, use)
        session.output.note(f"{made['user']['username']} is the admin.")
    with session.stranger(target.url) as nobody:
        answer = sign_in(session, nobody, body["username"], chosen[0])
    _kept(session, target, credential_of(target, answer), answer["user"])


@command(app, "password")
def password(session: Session, password_stdin: PasswordStdin = False) -> None:
    """Change your password. It ends all your sessions within 15 minutes; this computer gets a new one."""
    session.answers_piped = password_stdin
    target = session.target
    if target.token is not None or target.profile is None or target.profile.place is None:
        raise UsageError("Only who is signed in can change their password.", advice="Sign in first: stcloud login")
    me = session.access.me()
    current = session.ask("Present password", hidden=True, instead=PIPED)
    chosen: list[str] = []

    def use(new: str) -> dict[str, Any]:
        chosen[:] = [new]
        return session.access.change_password(current, new)

    with_new_password(session, use)
    with session.stranger(target.url) as nobody:
        answer = sign_in(session, nobody, me["username"], chosen[0])
    remember(session, target, credential_of(target, answer), me["username"])
    ended = "all other sessions end within 15 minutes"
    session.output.result({"success": True, "username": me["username"]}, f"The password is changed; {ended}.")
