"""Which server a command talks to and as whom: from options, environment and profiles.

The server: ``--url``, the profile of ``--profile``, STCLOUD_URL, the profile of STCLOUD_PROFILE, the current profile,
the default; the first there is. The token: STCLOUD_TOKEN, which is meant for STCLOUD_URL or the default; else what the
profile of that very server was signed in with. A token is never sent to a server it is not meant for: rather the
command ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stcloud.client import normalize_url
from stcloud.errors import UsageError
from stcloud.profiles import Profile, Profiles, same_server

DEFAULT_URL = "http://localhost:8001"


@dataclass(frozen=True)
class Target:
    """``token`` is the environment's; without it the credential of ``profile``, if any, is used."""

    url: str
    token: str | None = field(repr=False)
    profile: Profile | None
    #: The name that was asked for, of a profile that may not exist yet.
    profile_name: str | None


def resolve(
    profiles: Profiles,
    environ: Mapping[str, str],
    *,
    url: str | None,
    profile: str | None,
    may_be_new: bool = False,
) -> Target:
    """``url`` and ``profile`` are the options. ``may_be_new``: a name without a profile is fine, and a token that is
    meant for another server is left out, since whoever signs in brings what is needed.

    Raises UsageError.
    """
    env_url, env_profile = environ.get("STCLOUD_URL") or None, environ.get("STCLOUD_PROFILE") or None
    name = profile or env_profile
    named = None if name is None else profiles.by_name.get(name) if may_be_new else profiles.get(name)
    current = None if profiles.current is None else profiles.by_name[profiles.current]
    own = next((p for p in (named, current if name is None else None) if p is not None), None)
    chosen = url or (named.url if profile and named else None) or env_url or (own.url if own else None) or DEFAULT_URL
    found = normalize_url(chosen)
    if profile and named and not same_server(named.url, found) and not may_be_new:
        raise UsageError(
            f"The profile '{named.name}' is for {named.url}, not for {found}.",
            advice="Leave out --url or --profile.",
        )
    given = (environ.get("STCLOUD_TOKEN") or "").strip()
    meant = normalize_url(env_url or DEFAULT_URL)
    if given and not same_server(meant, found):
        if not may_be_new:
            which = f"STCLOUD_URL, {env_url}" if env_url else f"{DEFAULT_URL}, since STCLOUD_URL is not set"
            raise UsageError(
                f"STCLOUD_TOKEN is meant for {which}; it is not sent to {found}.",
                advice=f"Set STCLOUD_URL={found} if it is that server's token, else unset STCLOUD_TOKEN.",
            )
        given = ""
    if named is not None and same_server(named.url, found):
        fitting: Profile | None = named
    elif may_be_new and name is not None:
        fitting = None
    else:
        fitting = profiles.of_server(found)
    if profile is None and named is not None and not same_server(named.url, found):
        # The environment's profile must not be turned into another server's.
        name = None
    return Target(found, given or None, fitting, name)
