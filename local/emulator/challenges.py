"""Sign-in challenges that only who was asked can answer, as on AWS.

ministack 1.5.33 (https://github.com/ministackorg/ministack) takes any ``Session`` for NEW_PASSWORD_REQUIRED and
SOFTWARE_TOKEN_MFA, for any user: whoever knows a name could set its password. Nor does it check the new one. And with
``MfaConfiguration: ON`` it lets in who has no second factor, where Cognito asks for one (MFA_SETUP).
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from local.emulator.pins import require_source

Handler = Callable[[dict[str, Any]], Any]

GUARDED = frozenset({"NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA", "MFA_SETUP"})
#: Seconds; AuthSessionValidity of the app client, and Cognito's default.
VALID_SECONDS = 180.0
_CAN_SETUP = {"MFAS_CAN_SETUP": '["SOFTWARE_TOKEN_MFA"]'}


@dataclass(frozen=True)
class Asked:
    """Who was asked what. ``user`` is the name in the pool, not an alias."""

    pool: str
    client: str
    user: str
    challenge: str


class Challenges:
    """What was asked, by the opaque state that the answer must bring back. Forgotten after three minutes."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._open: dict[str, tuple[float, Asked]] = {}

    def ask(self, session: str, asked: Asked) -> None:
        with self._lock:
            now = self._monotonic()
            self._open = {s: kept for s, kept in self._open.items() if now < kept[0]}
            self._open[session] = (now + VALID_SECONDS, asked)

    def is_open(self, session: str, asked: Asked) -> bool:
        with self._lock:
            until, known = self._open.get(session, (0.0, None))
            return known == asked and self._monotonic() < until

    def asked(self, session: str) -> Asked | None:
        """What is open under this state."""
        with self._lock:
            until, known = self._open.get(session, (0.0, None))
            return known if self._monotonic() < until else None

    def close(self, session: str) -> None:
        with self._lock:
            self._open.pop(session, None)


def _state() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def patch_challenges() -> None:
    """Raises PatchError when ministack's source is not the one we know."""
    cognito: Any = import_module("ministack.services.cognito")
    require_source(cognito._password_auth_result, '"Session": session', "json_response(mfa_challenge)")
    for respond in (cognito._admin_respond_to_auth_challenge, cognito._respond_to_auth_challenge):
        require_source(respond, 'challenge_name == "NEW_PASSWORD_REQUIRED"', 'user["_password"] = new_password')
    require_source(cognito._dispatch_idp, '"AdminRespondToAuthChallenge": _admin_respond_to_auth_challenge')
    require_source(cognito._validate_password, "InvalidPasswordException")

    challenges = Challenges()
    # The secret behind a state whose first code was right; the challenge that answers it makes it the user's.
    verified: dict[str, str] = {}
    cognito._password_auth_result = _asking(cognito, challenges)
    _patch_enrolment(cognito, challenges, verified)
    for name in ("_admin_respond_to_auth_challenge", "_respond_to_auth_challenge"):
        setattr(cognito, name, _guarded(cognito, challenges, verified, getattr(cognito, name)))


def _asking(cognito: Any, challenges: Challenges) -> Callable[..., Any]:
    asking = cognito._password_auth_result

    def ask(pool: dict[str, Any], pid: str, cid: str, user: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        answer = asking(pool, pid, cid, user, *args, **kwargs)
        status, _, body = answer
        content = json.loads(body) if status == 200 else {}
        enrolled = "SOFTWARE_TOKEN_MFA" in user.get("_mfa_enabled", [])
        if "AuthenticationResult" in content and pool.get("MfaConfiguration") == "ON" and not enrolled:
            content = {"ChallengeName": "MFA_SETUP", "Session": _state(), "ChallengeParameters": _CAN_SETUP}
            answer = cognito.json_response(content)
        if content.get("ChallengeName") in GUARDED:
            challenges.ask(content["Session"], Asked(pid, cid, user["Username"], content["ChallengeName"]))
        return answer

    return ask


def _patch_enrolment(cognito: Any, challenges: Challenges, verified: dict[str, str]) -> None:
    """AssociateSoftwareToken and VerifySoftwareToken in the middle of a sign-in: for who was asked alone."""
    associating, verifying = cognito._associate_software_token, cognito._verify_software_token
    require_source(associating, "_totp_session_secrets[session] = secret")
    require_source(verifying, "_totp_session_secrets.get(session)", 'resp["Session"] =')

    def in_sign_in(step: Handler) -> Handler:
        def patched(data: dict[str, Any]) -> Any:
            session = str(data.get("Session") or "")
            known, secret = challenges.asked(session), cognito._totp_session_secrets.get(session)
            if data.get("AccessToken"):
                return step(data)
            if known is None or known.challenge != "MFA_SETUP":
                return cognito.error_response_json("NotAuthorizedException", "Invalid session for the user.", 400)
            answer = step(data)
            if answer[0] == 200:
                # Each step's state is good once, and the next one for the same user.
                following = json.loads(answer[2])["Session"]
                challenges.close(session)
                challenges.ask(following, known)
                if step is verifying and secret is not None:
                    verified[following] = secret
            return answer

        return patched

    cognito._associate_software_token = in_sign_in(associating)
    cognito._verify_software_token = in_sign_in(verifying)


def _guarded(cognito: Any, challenges: Challenges, verified: dict[str, str], respond: Handler) -> Handler:
    def refusal(challenge: str, session: str, pool: Any, user: dict[str, Any], given: dict[str, Any]) -> Any:
        if challenge == "NEW_PASSWORD_REQUIRED":
            return cognito._validate_password(pool, given.get("NEW_PASSWORD") or "")
        if challenge == "MFA_SETUP":
            if session not in verified:
                return cognito.error_response_json("NotAuthorizedException", "Software token is not verified.", 400)
            user["_totp_secret"] = verified.pop(session)
            user.setdefault("_mfa_enabled", []).append("SOFTWARE_TOKEN_MFA")
            user["_preferred_mfa"] = "SOFTWARE_TOKEN_MFA"
        return None

    def patched(data: dict[str, Any]) -> Any:
        challenge, client = data.get("ChallengeName", ""), data.get("ClientId", "")
        if challenge not in GUARDED:
            return respond(data)
        pool, pid = cognito._pool_for_client(client)
        given, session = data.get("ChallengeResponses") or {}, str(data.get("Session") or "")
        user = cognito._resolve_user(pool, given.get("USERNAME"))[0] if pool else None
        if user is None or not challenges.is_open(session, Asked(pid, client, user["Username"], challenge)):
            message = "Invalid session for the user, session is expired."
            return cognito.error_response_json("NotAuthorizedException", message, 400)
        refused = refusal(challenge, session, pool, user, given)
        if refused:
            return refused
        answer = respond(data)
        if answer[0] == 200:
            challenges.close(session)
        return answer

    return patched
