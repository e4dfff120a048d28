"""The console's cookies, and the proof that it was our page that sent them.

The session's cookies can't be read by any script. The third one can, by scripts of our origin alone, which repeat it in
a header: a page of another site can make a browser send cookies, and can neither read nor repeat them. Beside it the
browser's own word on where a request comes from is checked (``cross_site``), and ``SameSite=Strict`` keeps most
browsers from sending anything at all. The OWASP cheat sheet on cross-site request forgery has the reasons.
"""

from __future__ import annotations

import hmac

from chalicelib.api.facts import RequestFacts
from chalicelib.domain.access_ports import Tokens
from chalicelib.errors import PermissionDenied
from chalicelib.wiring import Services

CSRF_HEADER = "x-csrf-token"
CSRF_COOKIE = "stc_csrf"
_SESSION, _REFRESH = "stc_session", "stc_refresh"
#: The only place that sees the refresh token.
REFRESH_PATH = "/api/auth"
REFRESH_SECONDS = 30 * 24 * 3600
_CSRF_CHARS = 32


class CookieJar:
    """The cookies of one stack. Over https their names carry the prefixes with which browsers guarantee that they came
    from this very host over https; a stack on http://localhost can't have those."""

    def __init__(self, public_url: str) -> None:
        secure = public_url.startswith("https://")
        self.session_name = f"__Host-{_SESSION}" if secure else _SESSION
        self.refresh_name = f"__Secure-{_REFRESH}" if secure else _REFRESH
        self._secure = "; Secure" if secure else ""

    def session(self, facts: RequestFacts) -> str | None:
        return facts.cookies.get(self.session_name) or None

    def refresh(self, facts: RequestFacts) -> str | None:
        return facts.cookies.get(self.refresh_name) or None

    def begin(self, tokens: Tokens, csrf: str | None) -> list[str]:
        """Set-Cookie values of a session. ``csrf`` None and no refresh token leave those cookies as they are."""
        cookies = [self._cookie(self.session_name, tokens.access, "/", tokens.expires_in)]
        if tokens.refresh is not None:
            cookies.append(self._cookie(self.refresh_name, tokens.refresh, REFRESH_PATH, REFRESH_SECONDS))
        if csrf is not None:
            cookies.append(self._cookie(CSRF_COOKIE, csrf, "/", REFRESH_SECONDS, readable=True))
        return cookies

    def end(self) -> list[str]:
        """Set-Cookie values that remove everything."""
        return [
            *self.drop_session(),
            self._cookie(self.refresh_name, "", REFRESH_PATH, 0),
            self._cookie(CSRF_COOKIE, "", "/", 0, readable=True),
        ]

    def drop_session(self) -> list[str]:
        """Set-Cookie values that remove a session that is over, so that it is not sent again and again."""
        return [self._cookie(self.session_name, "", "/", 0)]

    def _cookie(self, name: str, value: str, path: str, seconds: int, *, readable: bool = False) -> str:
        hidden = "" if readable else "; HttpOnly"
        return f"{name}={value}; Path={path}; Max-Age={seconds}; SameSite=Strict{self._secure}{hidden}"


def jar_of(services: Services) -> CookieJar:
    """Raises Unavailable until the stack knows its public URL."""
    return CookieJar(services.ports.facts.public_url())


def sends_session_cookie(facts: RequestFacts) -> bool:
    return any(name.endswith(_SESSION) for name in facts.cookies)


def new_csrf(services: Services) -> str:
    return services.doors.random_text(_CSRF_CHARS)


def require_csrf(facts: RequestFacts) -> None:
    """For what cookies alone have proved. Raises PermissionDenied (``csrf_failed``)."""
    expected, given = facts.cookies.get(CSRF_COOKIE, ""), facts.headers.get(CSRF_HEADER, "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise PermissionDenied(
            f"Repeat the value of the cookie {CSRF_COOKIE} in the header X-CSRF-Token. Programs: send the token as "
            "Authorization: Bearer instead of cookies.",
            code="csrf_failed",
        )
