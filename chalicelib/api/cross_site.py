"""Keeping other web pages from acting in the user's name.

In local mode whoever reaches us is the admin, and a browser lets any page send a request here, though not read the
answer: enough to spend money. The rule is that of Go's ``http.CrossOriginProtection`` (https://go.dev/issue/73626):
browsers say where a request comes from, in headers that no page can set; programs send none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.errors import PermissionDenied

_OWN_PAGES = frozenset({"same-origin", "none"})


def refuse_cross_site(headers: Mapping[str, str], public_url: Callable[[], str]) -> None:
    """Raises PermissionDenied (``cross_site_request``) when a web page of another origin sent the request.

    ``headers`` have lower-case names; ``public_url`` gives our own origin, and is asked only for old browsers.
    """
    if not _is_ours(headers, public_url):
        raise PermissionDenied(
            "A web page of another site sent this. Use this stack's own console, or call the API from a program.",
            code="cross_site_request",
        )


def _is_ours(headers: Mapping[str, str], public_url: Callable[[], str]) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _OWN_PAGES
    origin = headers.get("origin")
    return origin is None or origin.lower() == public_url().lower()
