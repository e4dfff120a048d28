"""Whether the Hub would let a delivery in: two plain requests, and nothing is made.

Not by ``huggingface_hub``: checks run in the API's function too, which ships without it (its packages and their import
would slow every cold start down).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chalicelib.delivery.hub_faults import HubWords, malformed, no_name
from chalicelib.delivery.hub_rights import full_name, rights_on
from chalicelib.delivery.safe_http import Answer, safe_client
from chalicelib.domain.delivery_ports import CheckedTarget, DeliveryFault
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.hub import is_repo_name

MAX_BYTES = 1024 * 1024
#: A renamed repository answers with its new address.
MAX_MOVES = 2


def check_hub(
    destination: HubDestination, token: str, words: HubWords, *, seconds: float, private_hub: bool
) -> CheckedTarget:
    """``private_hub``: the Hub's address is the operator's and may lie in a private network. Raises DeliveryFault."""
    client = safe_client(allow_private=private_hub, max_seconds=max(1.0, seconds / 3), max_bytes=MAX_BYTES)

    def get(path: str) -> Answer:
        for _ in range(MAX_MOVES):
            answer = client.send("GET", f"{words.endpoint}{path}", headers={"Authorization": f"Bearer {token}"})
            moved = answer.headers.get("location", "")
            if answer.status not in {301, 302, 307, 308} or not moved.startswith("/api/"):
                break
            path = moved
        return answer

    answer = get("/api/whoami-v2")
    if not answer.is_success:
        raise words.answered(answer.status, answer.headers, answer.body.decode(errors="replace"))
    whoami = _object(answer)
    repo_id = full_name(destination.repo_id, whoami)
    if not is_repo_name(repo_id):
        raise no_name(destination.repo_id)
    rights = rights_on(repo_id, whoami)
    if not rights.writes:
        refused = HubWords(words.endpoint, repo_id, words.credential)
        raise DeliveryFault(
            "forbidden",
            f"The token may not write to {repo_id}: {rights.why_not}.",
            f"Choose a repository of your own, or {refused.rotate}",
            retry=False,
        )
    found = get(f"/api/models/{quote(repo_id)}?expand%5B%5D=private")
    # Without the right to see it the Hub answers for a private repository as for none.
    if found.status in {401, 403, 404}:
        return _to_be_made(destination, repo_id, rights.name, rights.creates)
    if not found.is_success:
        raise words.answered(found.status, found.headers, found.body.decode(errors="replace"))
    facts = [f"writes to {repo_id} as {rights.name}"]
    if destination.private and _maybe_object(found).get("private") is False:
        facts.append(f"{repo_id} is public already, and stays so")
    return CheckedTarget(facts=facts, result={"repo_id": repo_id, "exists": True})


def _to_be_made(destination: HubDestination, repo_id: str, name: str, creates: bool) -> CheckedTarget:
    if not creates:
        raise DeliveryFault(
            "not_found",
            f"{repo_id} is not there, and this token can't make it.",
            "Make the repository on the Hub first, or give the token the right to write to all of its owner's.",
            retry=False,
        )
    kind = "private" if destination.private else "public"
    facts = [f"{repo_id} will be made, {kind}, as {name}"]
    return CheckedTarget(facts=facts, result={"repo_id": repo_id, "exists": False})


def _object(answer: Answer) -> Mapping[str, Any]:
    found = _maybe_object(answer)
    if not isinstance(found.get("name"), str):
        raise malformed("who the token belongs to")
    return found


def _maybe_object(answer: Answer) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
