"""Routes of setup, sessions and oneself."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.api.auth import Caller
from chalicelib.api.cookies import jar_of, new_csrf, require_csrf
from chalicelib.api.declarations import actor_of
from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.access_ports import ChallengeError
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import CallerKind, Permission
from chalicelib.errors import AuthenticationError, Conflict, PermissionDenied
from chalicelib.schemas import auth as schema
from chalicelib.schemas.auth import Transport
from chalicelib.services.sessions import SignedIn
from chalicelib.settings import AuthMode

api = Api(tag="auth")
_Entering = Call[schema.LoginBody, None] | Call[schema.ChallengeBody, None]

_SIGN_IN = "who signs in has no session yet; attempts are limited"
_STEPS = {
    schema.ChallengeName.NEW_PASSWORD_REQUIRED: "Choose a new password: the one you signed in with was temporary.",
    schema.ChallengeName.SOFTWARE_TOKEN_MFA: "Send the code that your authenticator app shows.",
    schema.ChallengeName.MFA_SETUP: "Add secret, or otpauth_url as a QR code, to an authenticator app; send its code.",
}


@api.endpoint(
    "GET",
    "/auth/setup/status",
    permission=None,
    response=schema.SetupStatusResponse,
    statuses=(503,),
    public_reason="the console has to know whether to show setup or sign-in; it shows nothing else",
)
def get_setup_status(call: Call[None, None]) -> schema.SetupStatusResponse:
    """Whether there is an admin yet."""
    done = call.services.setup.done()
    return schema.SetupStatusResponse(
        needs_setup=not done,
        has_admin=done,
        user_count=int(done),
        setup_code_required=not done and call.services.settings.auth_mode is not AuthMode.LOCAL,
    )


@api.endpoint(
    "POST",
    "/auth/setup/first-admin",
    permission=None,
    body=schema.FirstAdminBody,
    response=schema.FirstAdminResponse,
    statuses=(401, 403, 409, 429, 503),
    public_reason="there is nobody yet; this computer's owner, the deploy token or the setup code get through, once",
)
def create_first_admin(call: Call[schema.FirstAdminBody, None]) -> schema.FirstAdminResponse:
    """Create the first admin.

    Works once. On a hosted stack it needs the `setup_code` that the deploy program printed, or the deploy token. From
    then on a stack on this computer wants a session or a key, and the deploy token is refused.
    """
    body, facts = call.body, call.facts
    who = None
    if body.setup_code is None and not call.services.setup.done():
        who = call.identify().who
        if who.kind not in {CallerKind.LOCAL, CallerKind.DEPLOY_TOKEN}:
            raise PermissionDenied("Only the deploy token or the setup code make the first admin.")
    person = call.services.setup.first_admin(
        who,
        username=body.username,
        email=body.email,
        password=body.password.get_secret_value(),
        display_name=body.display_name,
        setup_code=body.setup_code.get_secret_value() if body.setup_code else None,
        source_ip=facts.source_ip,
        request_id=facts.request_id,
    )
    return schema.FirstAdminResponse(user=schema.user_view(person))


@api.endpoint(
    "POST",
    "/auth/login",
    permission=None,
    body=schema.LoginBody,
    response=schema.LoginResponse,
    statuses=(401, 403, 429, 503),
    public_reason=_SIGN_IN,
)
def sign_in(call: Call[schema.LoginBody, None]) -> Reply:
    """Sign in.

    Answers with an access token of 15 minutes and a refresh token of 30 days, or, with `"session": "cookie"`, puts both
    into cookies that no script can read. When one more step is needed `success` is false and `challenge` says which.
    """
    body, facts = call.body, call.facts
    return _entering(
        call,
        body.session,
        lambda: call.services.sessions.sign_in(
            body.username,
            body.password.get_secret_value(),
            source_ip=facts.source_ip,
            request_id=facts.request_id,
        ),
    )


@api.endpoint(
    "POST",
    "/auth/login/challenge",
    permission=None,
    body=schema.ChallengeBody,
    response=schema.LoginResponse,
    statuses=(401, 403, 429, 503),
    public_reason=_SIGN_IN,
)
def answer_challenge(call: Call[schema.ChallengeBody, None]) -> Reply:
    """Go on with a sign-in: a new password, or a code.

    With `MFA_SETUP` nobody gets in without an authenticator app, and this person has none yet: `challenge` holds the
    `secret` for it, and the answer is its first code.
    """
    body, facts = call.body, call.facts
    return _entering(
        call,
        body.session,
        lambda: call.services.sessions.answer(
            body.username,
            body.challenge.value,
            body.challenge_session.get_secret_value(),
            body.answer.get_secret_value(),
            source_ip=facts.source_ip,
            request_id=facts.request_id,
        ),
    )


@api.endpoint(
    "POST",
    "/auth/login/pool-token",
    permission=None,
    body=schema.PoolTokenBody,
    response=schema.LoginResponse,
    statuses=(401, 403, 503),
    public_reason="the access token of the user pool is the credential",
)
def adopt_pool_token(call: Call[schema.PoolTokenBody, None]) -> Reply:
    """Begin here what began on the user pool's own pages.

    Managed login and single sign-on give an access token. It works once it was sent here: its person gets a profile
    with the role of their group, and the sign-in a line in the audit.
    """
    body, facts = call.body, call.facts
    signed_in = call.services.sessions.adopt(
        body.access_token.get_secret_value(),
        body.refresh_token.get_secret_value() if body.refresh_token else None,
        source_ip=facts.source_ip,
        request_id=facts.request_id,
    )
    return _reply(call, body.session, signed_in)


@api.endpoint(
    "POST",
    "/auth/refresh",
    permission=None,
    body=schema.RefreshBody,
    response=schema.LoginResponse,
    statuses=(401, 403, 429, 503),
    public_reason="the access token has ended by then; the refresh token is the credential",
)
def refresh_session(call: Call[schema.RefreshBody, None]) -> Reply:
    """Get a new access token.

    Programs send `refresh_token`. The console sends `{}`, its cookies, and the header `X-CSRF-Token`.
    """
    if call.body.refresh_token is not None:
        return _reply(call, Transport.TOKEN, _refreshed(call, call.body.refresh_token.get_secret_value()))
    token = jar_of(call.services).refresh(call.facts)
    if token is None:
        raise AuthenticationError("Send refresh_token, or sign in again.", code="session_ended")
    require_csrf(call.facts)
    return _reply(call, Transport.COOKIE, _refreshed(call, token), new_session=False)


@api.endpoint(
    "POST",
    "/auth/logout",
    permission=None,
    body=schema.LogoutBody,
    response=schema.DoneResponse,
    statuses=(401, 403, 503),
    public_reason="whoever holds a session may end it, even when its access token has expired",
)
def sign_out(call: Call[schema.LogoutBody, None]) -> Reply:
    """Sign out: end this session, or with `everywhere` all of this person.

    An access token that was copied works until it ends, within 15 minutes.
    """
    jar = jar_of(call.services)
    refresh = jar.refresh(call.facts)
    if refresh is not None or jar.session(call.facts) is not None:
        require_csrf(call.facts)
    if call.body.refresh_token is not None:
        refresh = call.body.refresh_token.get_secret_value()
    caller = _session_of(call)
    if call.body.everywhere and caller is None:
        raise AuthenticationError("Ending all sessions needs a session that has not expired.", code="invalid_session")
    actor = actor_of(caller.who, call.facts) if caller is not None else None
    call.services.sessions.sign_out(actor, refresh_token=refresh, everywhere=call.body.everywhere)
    return Reply(schema.DoneResponse(message="Signed out"), headers={"Set-Cookie": jar.end()})


@api.endpoint(
    "GET",
    "/auth/check",
    permission=None,
    response=schema.CheckResponse,
    statuses=(503,),
    public_reason="it only says whether the caller's own credential is good",
)
def check_caller(call: Call[None, None]) -> schema.CheckResponse:
    """Whether this request's credential is good."""
    try:
        who = call.identify().who
    except AuthenticationError:
        return schema.CheckResponse(authenticated=False)
    return schema.CheckResponse(
        authenticated=True,
        user_id=who.owner,
        username=who.name,
        is_admin=who.may(Permission.USER_MANAGE) or who.kind is CallerKind.LOCAL,
    )


@api.endpoint(
    "GET",
    "/auth/me",
    permission=None,
    any_caller=True,
    response=schema.CallerView,
    statuses=(401, 403, 429, 503),
    public_reason="whoever holds a credential, however little it may do, can ask whose it is",
)
def get_me(call: Call[None, None]) -> schema.CallerView:
    """Who I am, and what this credential may do."""
    if call.who.kind not in {CallerKind.SESSION, CallerKind.KEY}:
        return schema.caller_view(call.who, None)
    person = call.services.people.find(call.who.owner)
    if person is None:
        raise AuthenticationError("This account is not active any more.", code="account_inactive")
    return schema.caller_view(call.who, person)


@api.endpoint(
    "POST",
    "/auth/change-password",
    permission=Permission.PROFILE_OWN,
    body=schema.ChangePasswordBody,
    response=schema.DoneResponse,
    statuses=(409, 429, 503),
    audited=Audited(AuditAction.PASSWORD_CHANGE, "user:me"),
)
def change_password(call: Call[schema.ChangePasswordBody, None]) -> Reply:
    """Change my password.

    It ends all my sessions: sign in again with the new one.
    """
    caller = call.caller
    if caller is None or caller.access_token is None:
        raise Conflict("Only somebody who has signed in has a password to change.", code="no_password")
    call.services.sessions.change_password(
        caller.who,
        caller.access_token,
        call.body.current_password.get_secret_value(),
        call.body.new_password.get_secret_value(),
    )
    headers = {"Set-Cookie": jar_of(call.services).end()} if caller.by_cookie else {}
    done = schema.DoneResponse(message="Password changed. Sign in again.")
    return Reply(done, headers=headers, noted=Noted(f"user:{caller.who.owner}"))


def _refreshed(call: Call[schema.RefreshBody, None], token: str) -> SignedIn:
    facts = call.facts
    return call.services.sessions.refresh(token, source_ip=facts.source_ip, request_id=facts.request_id)


def _session_of(call: Call[schema.LogoutBody, None]) -> Caller | None:
    """Whose session is being ended; None when its access token has expired, or is not there."""
    try:
        caller = call.identify()
    except AuthenticationError:
        return None
    return caller if caller.access_token is not None else None


def _entering(call: _Entering, transport: Transport, step: Callable[[], SignedIn]) -> Reply:
    try:
        signed_in = step()
    except ChallengeError as challenge:
        known = next((name for name in schema.ChallengeName if name.value == challenge.name), None)
        if known is None:
            raise Conflict(
                f"The user pool asks for {challenge.name}, which can't be answered here. Use its own sign-in page.",
                code="unknown_challenge",
            ) from None
        view = schema.challenge_view(challenge, call.body.username, _STEPS[known])
        return Reply(schema.LoginResponse(success=False, message=view.message, challenge=view))
    return _reply(call, transport, signed_in)


def _reply(
    call: _Entering | Call[schema.RefreshBody, None] | Call[schema.PoolTokenBody, None],
    transport: Transport,
    signed_in: SignedIn,
    *,
    new_session: bool = True,
) -> Reply:
    tokens, user = signed_in.tokens, schema.user_view(signed_in.person)
    if transport is Transport.TOKEN:
        return Reply(
            schema.LoginResponse(
                success=True,
                user=user,
                access_token=tokens.access,
                refresh_token=tokens.refresh,
                expires_in=tokens.expires_in,
            )
        )
    csrf = new_csrf(call.services) if new_session else None
    return Reply(
        schema.LoginResponse(success=True, user=user, expires_in=tokens.expires_in),
        headers={"Set-Cookie": jar_of(call.services).begin(tokens, csrf)},
    )
