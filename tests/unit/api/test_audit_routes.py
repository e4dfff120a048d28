"""The audit: what it holds, how it is read, and that it shows what was done to it."""

from __future__ import annotations

import logging
from datetime import timedelta
from urllib.parse import quote

import pytest

from chalicelib.domain.audit import AuditResult
from chalicelib.errors import Unavailable
from tests.fakes.world import CONFIG
from tests.unit.api.team import ADMIN, Team

AUDIT = "/api/audit"


def test_every_action_of_a_days_work(team: Team) -> None:
    rita = team.session("rita")
    version = team.push(rita)
    rita.put("/api/configs/c", {"config": CONFIG})
    rita.post("/api/configs", {"name": "d", "config": CONFIG})
    rita.delete("/api/configs/c")
    job = team.submit(rita).json()["job_id"]
    rita.post(f"/api/cloud/jobs/{job}/cancel")
    team.world.run(60)
    rita.delete(f"/api/cloud/jobs/{job}")
    rita.delete(f"/api/cloud/datasets/photos/versions/{version}")
    rita.delete("/api/cloud/datasets/photos")
    done = [(str(r.action), r.target) for r in team.world.audit.records if r.actor_name == "rita"]
    assert done == [
        ("sign.in", f"user:{team.ids['rita']}"),
        ("dataset.create", f"dataset:photos/{version}"),
        ("dataset.complete", f"dataset:photos/{version}"),
        ("config.save", "config:c"),
        ("config.save", "config:d"),
        ("config.delete", "config:c"),
        ("job.submit", f"job:{job}"),
        ("job.cancel", f"job:{job}"),
        ("job.delete", f"job:{job}"),
        ("dataset.delete", f"dataset:photos/{version}"),
        ("dataset.delete", "dataset:photos"),
    ]
    assert {r.result for r in team.world.audit.records} == {AuditResult.ALLOWED}
    assert {r.request_id for r in team.world.audit.records if r.actor_name == "rita"} != {""}


def test_refusals_and_failures_are_there_with_their_code(team: Team) -> None:
    vera, rita = team.session("vera"), team.session("rita")
    team.submit(vera)
    rita.post("/api/cloud/jobs/submit", {"config": {}})
    rita.put("/api/configs/c", b"{")
    rita.delete("/api/configs/nothing")
    rita.post("/api/cloud/jobs/nothing/cancel")
    refused = [(r.actor_name, str(r.action), r.result.value, r.code) for r in team.world.audit.records if r.code]
    assert refused == [
        ("vera", "job.submit", "denied", "permission_denied"),
        ("rita", "job.submit", "failed", refused[1][3]),
        ("rita", "config.save", "failed", "invalid_json"),
        ("rita", "config.delete", "failed", "config_not_found"),
        ("rita", "job.cancel", "failed", "job_not_found"),
    ]


def test_strangers_leave_few_lines_so_that_they_can_not_fill_it(team: Team) -> None:
    before = len(team.world.audit.records)
    for _ in range(20):
        team.submit(team.anonymous)
        team.submit(team.anonymous.bearing("stk_x"))
        team.anonymous.post("/api/auth/logout", {"refresh_token": "x"})
        team.anonymous.post("/api/auth/setup/first-admin", ADMIN)
        team.anonymous.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": "x"})
    assert len(team.world.audit.records) == before
    for _ in range(20):
        team.anonymous.post("/api/auth/refresh", {"refresh_token": "x"})
        team.sign_in("rita", "Wrong-Horse-7-Battery")
    added = [(str(r.action), r.result.value, r.details["refusals"]) for r in team.world.audit.records[before:]]
    # Ten sign-ins of one name, then it has to wait.
    assert [entry for entry in added if entry[0] == "sign.in"] == [("sign.in", "denied", n) for n in (1, 2, 4, 8)]
    assert [entry[2] for entry in added if entry[0] == "session.refresh"] == [1, 2, 4, 8, 16]


def test_who_may_not_look_is_noted_and_who_may_is_not(team: Team) -> None:
    paths = (AUDIT, f"{AUDIT}/verify", "/api/users", f"/api/users/{team.ids['ada']}")
    before = len(team.world.audit.records)
    rita, ada, key = team.session("rita"), team.session("ada"), team.key("rita")
    for path in paths:
        assert (rita.get(path).status, key.get(path).status, ada.get(path).status) == (403, 403, 200)
        assert team.anonymous.get(path).status == 401
    assert ada.get(f"{AUDIT}?cursor=x").status == 400
    assert ada.get("/api/users/nobody").status == 404
    reads = [r for r in team.world.audit.records[before:] if str(r.action).endswith(".read")]
    targets = ("stack:audit", "stack:audit", "stack:users", f"user:{team.ids['ada']}")
    assert [(r.target, r.actor_name, r.code) for r in reads] == [
        (target, "rita", "permission_denied") for target in targets for _ in range(2)
    ]
    assert [r.key_id is None for r in reads] == [True, False] * 4


def test_another_display_name_is_noted_without_the_name(team: Team) -> None:
    path = f"/api/users/{team.ids['rita']}"
    for _ in range(2):
        assert team.session("ada").request("PATCH", path, {"display_name": "Rita the Second"}).status == 200
    (record,) = (r for r in team.world.audit.records if r.action == "user.change")
    assert (record.target, record.details) == (
        f"user:{team.ids['rita']}",
        {"username": "rita", "changed": "display_name"},
    )


def test_a_dataset_is_noted_when_it_is_whole_and_not_before(team: Team) -> None:
    rita = team.session("rita")
    manifest = [{"path": "a.jpg", "size": 3, "sha256": "0" * 64}]
    made = rita.post("/api/cloud/datasets", {"dataset_id": "photos", "files": manifest}).json()
    path = f"/api/cloud/datasets/photos/versions/{made['version_id']}/complete"
    refused = rita.post(path)
    assert refused.status == 409, refused.body
    assert [(r.result.value, r.code) for r in team.world.audit.records if r.action == "dataset.complete"] == [
        ("failed", refused.json()["code"])
    ]


def test_a_key_is_named_beside_its_owner(team: Team) -> None:
    made = team.make_key("rita")
    team.submit(team.anonymous.bearing(made["key"]))
    (entry,) = team.session("ada").get(f"{AUDIT}?actor={made['key_info']['id']}").json()["entries"]
    assert (entry["actor_username"], entry["actor_kind"], entry["key_id"]) == ("rita", "key", made["key_info"]["id"])


def test_reading_in_pages_and_with_filters(team: Team) -> None:
    ada, rita = team.session("ada"), team.session("rita")
    start = team.world.clock.now()
    for n in range(5):
        team.world.clock.advance(1)
        rita.put(f"/api/configs/c{n}", {"config": {}})
    first = ada.get(f"{AUDIT}?action=config.save&limit=3").json()
    assert [e["target_id"] for e in first["entries"]] == ["c4", "c3", "c2"]
    assert (first["total"], first["has_more"]) == (3, True)
    rest = ada.get(f"{AUDIT}?action=config.save&limit=3&cursor={quote(first['next'])}").json()
    assert ([e["target_id"] for e in rest["entries"]], rest["has_more"], rest["next"]) == (["c1", "c0"], False, None)
    count = lambda query: ada.get(f"{AUDIT}?{query}").json()["total"]  # noqa: E731
    assert count("actor=rita&action=config.save") == 5
    assert count(f"owner={team.ids['rita']}&action=config.save") == 5
    assert count("target=config:c3") == 1
    assert count("result=denied") == 0
    since = (start + timedelta(seconds=2)).isoformat().replace("+00:00", "Z")
    assert count(f"action=config.save&since={since}") == 4
    assert count(f"action=config.save&until={since}") == 1
    assert ada.get(f"{AUDIT}?cursor=x").json()["code"] == "invalid_cursor"
    for wrong in ("action=fly", "result=maybe", "since=yesterday", "since=2026-01-01T00:00:00", "limit=0"):
        assert ada.get(f"{AUDIT}?{wrong}").status == 422


def test_only_admins_read_it(team: Team) -> None:
    for name in ("lena", "rita", "vera"):
        assert team.session(name).get(AUDIT).status == 403
        assert team.session(name).get(f"{AUDIT}/verify").status == 403


def test_sealed_records_verify_and_a_change_shows(team: Team) -> None:
    ada, audit = team.session("ada"), team.services.audit
    assert audit.seal() == 0  # too young
    team.world.clock.advance(61)
    sealed = audit.seal()
    assert sealed > 0
    ada.put("/api/configs/c", {"config": {}})
    team.world.clock.advance(1)
    report = ada.get(f"{AUDIT}/verify").json()
    assert (report["valid"], report["entries_checked"], report["seals"]) == (True, sealed, 1)
    assert (report["complete"], report["broken_links"], len(report["digest"])) == (True, [], 64)
    assert report["unsealed_entries"] >= 1
    assert ada.get(f"{AUDIT}/verify?after={report['checked_to']}").json()["valid"] is True
    changed = team.world.audit.records[2]
    team.world.audit.tamper(changed.model_copy(update={"result": AuditResult.DENIED}))
    broken = ada.get(f"{AUDIT}/verify").json()
    assert broken["valid"] is False
    assert "seal 1" in broken["broken_links"][0]["reason"]


def test_what_was_done_stands_when_its_record_is_lost(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    rita = team.session("rita")
    team.world.audit.broken = Unavailable("no audit")
    with caplog.at_level(logging.ERROR, "chalicelib"):
        assert team.submit(rita).status == 200
    assert "audit_record_lost" in caplog.text
