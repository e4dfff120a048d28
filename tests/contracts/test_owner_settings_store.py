"""``OwnerSettingsStore``: what a person has settled."""

from __future__ import annotations

import pytest

from chalicelib.domain.owner_settings import Consent, OwnerSettings, OwnerSettingsStore
from chalicelib.domain.ports import StaleRecordError
from tests.support.jobs import NOW, OWNER, together


def settings(revision: int, consent: Consent = Consent.DENY, owner: str = OWNER) -> OwnerSettings:
    return OwnerSettings(owner=owner, consent=consent, updated_at=NOW, revision=revision)


def test_nothing_stored_is_the_defaults(owner_settings: OwnerSettingsStore) -> None:
    assert owner_settings.get(OWNER) == OwnerSettings(owner=OWNER)
    assert owner_settings.get(OWNER).consent is Consent.ASK


def test_revisions_follow_each_other(owner_settings: OwnerSettingsStore) -> None:
    owner_settings.put(settings(1))
    assert owner_settings.get(OWNER) == settings(1)
    assert owner_settings.get("other") == OwnerSettings(owner="other")
    owner_settings.put(settings(2, Consent.ALLOW))
    assert owner_settings.get(OWNER).consent is Consent.ALLOW
    for stale in (1, 2, 4):
        with pytest.raises(StaleRecordError):
            owner_settings.put(settings(stale))
    assert owner_settings.get(OWNER) == settings(2, Consent.ALLOW)


def test_of_two_at_once_one_is_told(owner_settings: OwnerSettingsStore) -> None:
    results = together(2, lambda _: owner_settings.put(settings(1)))
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "StaleRecordError"]
