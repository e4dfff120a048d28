"""``ConfigStore``: named configs with numbered versions."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.ports import ConfigStore, InvalidCursorError, StaleRecordError
from tests.support.jobs import NOW, OWNER, together


def a_config(version: int = 1, *, name: str = "flux", owner: str = OWNER, **changes: Any) -> TrainingConfig:
    base = TrainingConfig(
        owner=owner,
        name=name,
        version=version,
        config={"--lora_rank": 4, "--learning_rate": 1e-4, "--seed": 2**63, "説明": None, "list": [True, 1.5, "x"]},
        dataloader_config=[{"id": "photos", "repeats": 0}],
        created_at=NOW,
        modified_at=NOW + timedelta(minutes=version),
    )
    return base.model_copy(update=changes)


def test_versions_follow_each_other(config_store: ConfigStore) -> None:
    assert config_store.get(OWNER, "flux") is None
    assert list(config_store.versions(OWNER, "flux")) == []
    for n in (1, 2, 3):
        config_store.save(a_config(n))
    assert config_store.get(OWNER, "flux") == a_config(3)
    assert config_store.get(OWNER, "flux", 1) == a_config(1)
    assert config_store.get(OWNER, "flux", 2) == a_config(2)
    for missing in (4, 0, -1, 10**12):
        assert config_store.get(OWNER, "flux", missing) is None
    assert config_store.get("other", "flux") is None
    assert list(config_store.versions(OWNER, "flux")) == [a_config(3), a_config(2), a_config(1)]


@pytest.mark.parametrize("odd", ["", "x" * 5000, "\ud800", "a b", "flux#"])
def test_any_name_may_be_asked_for(config_store: ConfigStore, odd: str) -> None:
    config_store.save(a_config())
    assert config_store.get(OWNER, odd) is None
    assert config_store.get(OWNER, odd, 1) is None
    assert list(config_store.versions(OWNER, odd)) == []
    config_store.delete(OWNER, odd)
    assert config_store.get(OWNER, "flux") == a_config()


def test_a_version_is_written_once(config_store: ConfigStore) -> None:
    config_store.save(a_config(1))
    config_store.save(a_config(2))
    for wrong in (1, 2, 4):
        with pytest.raises(StaleRecordError):
            config_store.save(a_config(wrong, description="another"))
    with pytest.raises(StaleRecordError):
        config_store.save(a_config(2, name="new"))
    assert list(config_store.versions(OWNER, "flux")) == [a_config(2), a_config(1)]
    assert config_store.get(OWNER, "new") is None


def test_of_parallel_saves_of_one_version_one_wins(config_store: ConfigStore) -> None:
    config_store.save(a_config(1))

    def one(i: int) -> str:
        config_store.save(a_config(2, description=str(i)))
        return str(i)

    results = together(12, one)
    winners = [r for r in results if isinstance(r, str)]
    assert len(winners) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 11
    latest, second = config_store.get(OWNER, "flux"), config_store.get(OWNER, "flux", 2)
    assert latest == second == a_config(2, description=winners[0])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_latest_versions_are_listed_by_name(config_store: ConfigStore, limit: int) -> None:
    for name in ("b", "a", "B"):
        config_store.save(a_config(1, name=name))
    config_store.save(a_config(2, name="a"))
    config_store.save(a_config(1, name="ab", owner="other"))
    seen: list[tuple[str, int]] = []
    cursor: str | None = None
    for _ in range(5):
        found, cursor = config_store.list(OWNER, limit=limit, cursor=cursor)
        assert len(found) == limit or cursor is None
        seen += [(c.name, c.version) for c in found]
        if cursor is None:
            break
    assert seen == [("B", 1), ("a", 2), ("b", 1)]
    assert config_store.list("nobody") == ([], None)


def test_large_configs_are_listed_and_kept(config_store: ConfigStore) -> None:
    large = {"prompts": ["ü" * 1000] * 50}
    for n in range(15):
        config_store.save(a_config(1, name=f"c{n:02}", config=large))
    found, cursor = config_store.list(OWNER, limit=15)
    assert [c.name for c in found] == [f"c{n:02}" for n in range(15)]
    assert cursor is None
    assert all(c.config == large for c in found)


def test_a_cursor_belongs_to_its_owner(config_store: ConfigStore) -> None:
    for name in ("a", "b"):
        config_store.save(a_config(1, name=name))
    _, cursor = config_store.list(OWNER, limit=1)
    assert cursor is not None
    for owner, wrong in (("other", cursor), (OWNER, "garbage"), (OWNER, "")):
        with pytest.raises(InvalidCursorError):
            config_store.list(owner, cursor=wrong)


def test_a_removal_takes_all_versions_and_the_name_is_free_again(config_store: ConfigStore) -> None:
    for n in range(1, 106):
        config_store.save(a_config(n))
    config_store.save(a_config(1, name="flux2"))
    config_store.delete(OWNER, "flux")
    assert config_store.get(OWNER, "flux") is None
    assert config_store.get(OWNER, "flux", 1) is None
    assert config_store.get(OWNER, "flux", 105) is None
    assert list(config_store.versions(OWNER, "flux")) == []
    assert [c.name for c in config_store.list(OWNER)[0]] == ["flux2"]
    config_store.delete(OWNER, "flux")
    config_store.save(a_config(1))
    assert config_store.get(OWNER, "flux") == a_config(1)


def test_saves_and_removals_at_once_leave_no_remains(config_store: ConfigStore) -> None:
    def work(i: int) -> None:
        for _ in range(12):
            if i < 2:
                config_store.delete(OWNER, "flux")
                continue
            latest = config_store.get(OWNER, "flux")
            with suppress(StaleRecordError):
                config_store.save(a_config(latest.version + 1 if latest else 1, description=str(i)))

    assert together(6, work) == [None] * 6
    latest = config_store.get(OWNER, "flux")
    versions = list(config_store.versions(OWNER, "flux"))
    assert versions[:1] == ([latest] if latest else [])
    assert [c.version for c in versions] == list(range(latest.version if latest else 0, 0, -1))


def test_a_thousand_versions_at_most(config_store: ConfigStore) -> None:
    for n in range(1, 1004):
        config_store.save(a_config(n, config={}))
    assert [c.version for c in config_store.versions(OWNER, "flux")] == list(range(1003, 3, -1))
