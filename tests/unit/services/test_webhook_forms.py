"""A webhook that is wrong without looking at its signature makes nobody ask the provider for the secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.webhook_signing import sign
from chalicelib.errors import AuthenticationError
from tests.fakes.world import World


@pytest.mark.parametrize("wrong", ["missing", "old", "no signature", "odd id"])
def test_junk_costs_the_provider_nothing(wrong: str) -> None:
    world = World()
    at = world.clock.now() - timedelta(hours=1) if wrong == "old" else world.clock.now()
    headers = sign(b"{}", webhook_id="msg_1", at=at, secrets=[world.provider.secret])
    if wrong == "missing":
        del headers["webhook-signature"]
    elif wrong == "no signature":
        headers["webhook-signature"] = "v2,abc"
    elif wrong == "odd id":
        headers["webhook-id"] = "a\nb"
    with pytest.raises(AuthenticationError):
        world.services.webhooks.receive("replicate", headers, b"{}", None)
    assert "webhook_secret" not in world.provider.calls
