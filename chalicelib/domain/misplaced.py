"""Credentials that somebody put where a name belongs, as in ``DELETE /auth/api-keys/stk_…`` with the whole key.

What is sent there is echoed, logged and, in the audit, kept for good.
"""

from __future__ import annotations

import re

#: An API key with its secret, the deploy token, a session; a token of the Hub or of the provider, a signing secret. No
#: name of ours looks like one of them.
_CREDENTIAL = re.compile(
    r"stu_[0-9a-z]+_[0-9A-Za-z]{20,}|stk_[0-9A-Za-z]{23}_[0-9A-Za-z]+|stc_[0-9A-Za-z_-]{40,}|eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]+"
    r"|(?:hf|r8)_[0-9A-Za-z]{24,}|whsec_[0-9A-Za-z+/=_-]{24,}"
)
HIDDEN = "(hidden)"


def holds_credential(text: str) -> bool:
    return _CREDENTIAL.search(text) is not None


def without_credentials(text: str) -> str:
    """``text`` with ``(hidden)`` in the place of each credential."""
    return _CREDENTIAL.sub(HIDDEN, text)
