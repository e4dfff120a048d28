"""Consent to uploads: SimpleTuner's recorded answers, and that no means no."""

from __future__ import annotations

import json
from pathlib import Path

from chalicelib.domain.audit import AuditAction
from tests.fakes.world import DATALOADER, FILES, World
from tests.unit.api.client import ApiClient, local_services
from tests.unit.api.team import Team

SETTING = "/api/cloud/data-consent/setting"
PREVIEW = "/api/cloud/data-consent/preview"
MANIFEST = [{"path": "a.jpg", "size": 1, "sha256": "0" * 64}]


def test_the_setting_is_ask_until_it_is_set(api: ApiClient) -> None:
    assert api.get(SETTING).json() == {"consent": "ask"}
    assert api.put(SETTING, {"consent": "allow"}).json() == {"success": True, "consent": "allow"}
    assert api.get(SETTING).json() == {"consent": "allow"}
    assert api.put(SETTING, {"consent": "allow"}).status == 200


def test_another_word_is_refused_as_recorded(api: ApiClient) -> None:
    answer = api.put(SETTING, {"consent": "zzz"})
    assert answer.status == 400
    assert answer.json()["detail"] == "Invalid consent value: zzz. Must be one of: {'allow', 'ask', 'deny'}"
    assert api.get(SETTING).json() == {"consent": "ask"}
    assert api.put(SETTING, {}).status == 422


def test_deny_takes_no_data(api: ApiClient, world: World) -> None:
    begun = api.post("/api/cloud/datasets", {"dataset_id": "half", "files": MANIFEST}).json()["version_id"]
    archive = api.post("/api/cloud/datasets/half/archives", {"filename": "a.zip", "size": 500}).json()["archive_id"]
    api.put(SETTING, {"consent": "deny"})
    for path, body in (
        ("/api/cloud/datasets", {"dataset_id": "more", "files": MANIFEST}),
        ("/api/cloud/datasets/more/manifests", {"size": 5, "sha256": "0" * 64}),
        ("/api/cloud/datasets/more/archives", {"filename": "a.zip", "size": 500}),
        (f"/api/cloud/datasets/half/versions/{begun}/uploads", {}),
        (f"/api/cloud/datasets/half/versions/{begun}/uploads/finish", {"path": "a.jpg"}),
        (f"/api/cloud/datasets/half/versions/{begun}/complete", {}),
        (f"/api/cloud/datasets/half/archives/{archive}/parts", {}),
        (f"/api/cloud/datasets/half/archives/{archive}/complete", {}),
    ):
        answer = api.post(path, body)
        assert (answer.status, answer.json()["code"]) == (403, "consent_denied")
        assert "data-consent/setting" in answer.json()["detail"]
    assert world.ports.datasets.get_dataset("local", "more") is None
    # What is there can still be seen, trained with and deleted.
    assert api.get("/api/cloud/datasets/photos").status == 200
    assert api.delete("/api/cloud/datasets/photos").status == 200
    api.put(SETTING, {"consent": "ask"})
    assert api.post("/api/cloud/datasets", {"dataset_id": "more", "files": MANIFEST}).status == 201


def test_the_preview_tells_what_is_uploaded_and_what_is_not(api: ApiClient) -> None:
    other = {"id": "new", "type": "local", "instance_data_dir": "/data/new"}
    remote = {"id": "h", "type": "huggingface", "dataset_name": "o/n"}
    body = api.post(PREVIEW, [*DATALOADER, other, remote]).json()
    assert (body["requires_upload"], body["consent_mode"], body["total_files"]) == (True, "ask", len(FILES))
    assert [(d["id"], d["uploaded"], d["file_count"]) for d in body["datasets"]] == [
        ("photos", True, len(FILES)),
        ("new", False, None),
    ]
    assert "stcloud datasets push /data/new" in body["message"]
    assert "leaves your machine whole" not in body["message"]
    packed = {"id": "zip", "type": "local", "instance_data_dir": "/data/photos.ZIP"}
    assert "An archive leaves your machine whole" in api.post(PREVIEW, [packed]).json()["message"]
    assert api.post(PREVIEW, DATALOADER).json()["requires_upload"] is False
    assert api.post(PREVIEW, [remote]).json()["datasets"] == []
    api.put(SETTING, {"consent": "deny"})
    assert "deny" in api.post(PREVIEW, [other]).json()["message"]


def test_the_documented_example() -> None:
    text = (Path(__file__).parents[3] / "docs" / "preflight.md").read_text(encoding="utf-8")
    shown = text.split('data-consent/preview" \\\n')[1]
    body = json.loads(shown.split("'")[1])
    answer = json.loads(shown.split("```\n```\n")[1].split("```")[0])
    world = World()
    assert ApiClient(local_services(world)).post(PREVIEW, body).json() == answer


def test_a_preview_takes_a_list(api: ApiClient) -> None:
    for body in ({}, {"a": 1}, "x", 5, [1], [{}] * 51):
        assert api.post(PREVIEW, body).status == 422
    for entries in ([], [{}], [{"id": 5, "type": [1], "instance_data_dir": {}}], [{"id": "a"}, {"id": "a"}]):
        assert api.post(PREVIEW, entries).status == 200


def test_consent_is_each_persons_own_and_audited(team: Team) -> None:
    rita = team.session("rita")
    assert rita.put(SETTING, {"consent": "deny"}).status == 200
    assert team.session("otto").get(SETTING).json() == {"consent": "ask"}
    assert rita.get(SETTING).json() == {"consent": "deny"}
    assert team.session("vera").put(SETTING, {"consent": "allow"}).status == 403
    rita.put(SETTING, {"consent": "no"})
    results = [(result, target, code) for _, result, target, code in team.audit(AuditAction.CONSENT_CHANGE)]
    assert results == [
        ("allowed", "consent:uploads", None),
        ("denied", "consent:uploads", "permission_denied"),
        ("failed", "consent:uploads", "invalid_consent"),
    ]
