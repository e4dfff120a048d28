"""Channels of notifications over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.channels import MAX_CHANNELS
from chalicelib.domain.notification_events import EVENT_TYPES
from chalicelib.domain.permissions import Permission
from chalicelib.domain.webhook_signing import verify
from chalicelib.errors import Unavailable
from chalicelib.services.channels import ADDRESSES, TESTS
from tests.fakes.notifications import FakeAnswer
from tests.fakes.world import World
from tests.support.notifying import send
from tests.unit.api.client import ApiClient
from tests.unit.api.team import Team

PATH = "/api/cloud/notifications"
CHANNELS = f"{PATH}/channels"
HOOK: dict[str, Any] = {"channel_type": "webhook", "name": "chat", "webhook_url": "https://hooks.example/T0/s3cr3t"}
MAIL: dict[str, Any] = {"channel_type": "email", "name": "me", "email": "rita@example.com"}


def made(api: ApiClient, body: dict[str, Any] = HOOK, **changes: Any) -> dict[str, Any]:
    answer = api.post(CHANNELS, {**body, **changes})
    assert answer.status == 201, answer.json()
    document: dict[str, Any] = answer.json()
    return document


def refusal(answer: Any) -> tuple[int, str, str]:
    return answer.status, answer.json()["code"], answer.json()["errors"][0]["field"]


# --- keeping --------------------------------------------------------------------------------------------------------
def test_a_webhook_is_made_with_a_secret_that_is_shown_once(api: ApiClient) -> None:
    channel = made(api)
    secret = channel.pop("secret")
    assert secret.startswith("whsec_")
    assert (channel["events"], channel["state"], channel["email"]) == (["*"], "active", None)
    assert api.get(CHANNELS).json() == {"channels": [channel]}
    one = api.get(f"{CHANNELS}/{channel['id']}")
    assert one.json() == channel
    assert secret not in one.body.decode()


def test_an_address_must_agree(api: ApiClient, world: World) -> None:
    channel = made(api, MAIL)
    assert (channel["state"], channel["secret"]) == ("pending_confirmation", None)
    assert world.mailer.asked == ["rita@example.com"]
    test = api.post(f"{CHANNELS}/{channel['id']}/test", {})
    assert (test.status, test.json()["code"]) == (409, "pending_confirmation")
    assert world.mailer.asked == ["rita@example.com"] * 2
    world.mailer.confirm("rita@example.com")
    assert api.get(f"{CHANNELS}/{channel['id']}").json()["state"] == "active"
    assert api.post(f"{CHANNELS}/{channel['id']}/test", {}).json()["success"] is True
    assert world.mailer.sent[0][1] == "SimpleTuner Cloud: Test: me"


def test_an_address_is_asked_later_when_the_mail_service_does_not_answer(api: ApiClient, world: World) -> None:
    world.mailer.faults = [Unavailable("busy")]
    channel = made(api, MAIL)
    assert world.mailer.asked == []
    assert api.post(f"{CHANNELS}/{channel['id']}/test", {}).json()["code"] == "pending_confirmation"
    assert world.mailer.asked == ["rita@example.com"]


def test_an_address_belongs_to_one_channel_of_one_person(team: Team) -> None:
    made(team.session("rita"), MAIL)
    for name in ("rita", "otto"):
        again = team.session(name).post(CHANNELS, {**MAIL, "email": "Rita@Example.com"})
        assert refusal(again) == (409, "address_taken", "email")


def test_nobody_has_many_strangers_written_to(api: ApiClient, world: World) -> None:
    for i in range(ADDRESSES.limit):
        made(api, MAIL, email=f"a{i}@example.com")
    assert api.post(CHANNELS, {**MAIL, "email": "z@example.com"}).status == 429
    assert len(world.mailer.asked) == ADDRESSES.limit


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"webhook_url": "http://hooks.example/"}, "address_refused", "webhook_url"),
        ({"webhook_url": "https://169.254.169.254/latest"}, "address_refused", "webhook_url"),
        ({"webhook_url": "https://localhost/"}, "address_refused", "webhook_url"),
        ({"webhook_url": "https://user:pw@hooks.example/"}, "address_refused", "webhook_url"),
        ({"webhook_url": None}, "validation_failed", "webhook_url"),
        ({"email": "a@example.com"}, "validation_failed", "webhook_url"),
        ({"events": ["job.complete"]}, "unknown_event", "events[0]"),
        ({"events": []}, "validation_failed", "events"),
        ({"name": " "}, "validation_failed", "name"),
        ({"name": "a\nb"}, "validation_failed", "name"),
        ({"channel_type": "sms"}, "validation_failed", "channel_type"),
        ({"event": ["*"]}, "validation_failed", "event"),
        ({"channel_type": "email", "webhook_url": None}, "validation_failed", "email"),
        ({"channel_type": "email", "webhook_url": None, "email": "no address"}, "validation_failed", "email"),
    ],
)
def test_what_can_t_be_a_channel_is_refused(
    api: ApiClient, world: World, changes: dict[str, Any], code: str, field: str
) -> None:
    assert refusal(api.post(CHANNELS, {**HOOK, **changes})) == (422, code, field)
    assert api.get(CHANNELS).json()["channels"] == []
    assert world.credential_secrets.stored == {}


def test_a_wrong_event_is_told_which_was_meant(api: ApiClient) -> None:
    channel = made(api)
    detail = api.request("PATCH", f"{CHANNELS}/{channel['id']}", {"events": ["job.faild"]}).json()["detail"]
    assert "did you mean job.failed?" in detail
    detail = api.request("PATCH", f"{CHANNELS}/{channel['id']}", {"events": ["x"]}).json()["detail"]
    assert "delivery.failed" in detail


def test_a_channel_is_changed(api: ApiClient) -> None:
    path = f"{CHANNELS}/{made(api)['id']}"
    changed = api.request("PATCH", path, {"events": ["job.failed", "job.failed"], "name": "new", "is_enabled": False})
    assert changed.status == 200
    view = changed.json()
    assert (view["events"], view["name"], view["state"]) == (["job.failed"], "new", "disabled")
    assert api.request("PATCH", path, {}).status == 422
    assert refusal(api.request("PATCH", path, {"webhook_url": "ftp://x/"}))[1] == "address_refused"
    mail = made(api, MAIL)
    moved = api.request("PATCH", f"{CHANNELS}/{mail['id']}", {"webhook_url": "https://hooks.example/"})
    assert refusal(moved)[2] == "webhook_url"


def test_there_is_a_limit(api: ApiClient, world: World) -> None:
    for _ in range(MAX_CHANNELS):
        last = made(api)
    full = api.post(CHANNELS, HOOK)
    assert (full.status, full.json()["code"]) == (409, "too_many_channels")
    assert len(world.credential_secrets.stored) == MAX_CHANNELS
    assert api.delete(f"{CHANNELS}/{last['id']}").json() == {"success": True, "id": last["id"]}
    made(api)


def test_a_channel_goes_with_its_secret_and_its_subscription(api: ApiClient, world: World) -> None:
    hook, mail = made(api), made(api, MAIL)
    world.mailer.confirm("rita@example.com")
    for channel in (hook, mail):
        api.delete(f"{CHANNELS}/{channel['id']}")
        assert api.get(f"{CHANNELS}/{channel['id']}").json()["code"] == "channel_not_found"
    assert (world.credential_secrets.stored, world.mailer.states) == ({}, {})
    made(api, MAIL)


def test_rotation_is_shown_once_and_of_webhooks_only(api: ApiClient, world: World) -> None:
    channel = made(api)
    rotated = api.post(f"{CHANNELS}/{channel['id']}/rotate-secret", {}).json()
    assert rotated["secret"] not in {channel["secret"], ""}
    assert rotated["channel"]["previous_secret_until"] == rotated["previous_secret_until"]
    assert rotated["secret"] not in api.get(CHANNELS).body.decode()
    mail = made(api, MAIL)
    assert api.post(f"{CHANNELS}/{mail['id']}/rotate-secret", {}).json()["code"] == "no_secret"


# --- trying ---------------------------------------------------------------------------------------------------------
def test_a_test_is_sent_once_and_kept(api: ApiClient, world: World) -> None:
    channel = made(api)
    good = api.post(f"{CHANNELS}/{channel['id']}/test", {}).json()
    assert (good["success"], good["error"], good["status"]) == (True, None, 204)
    got = world.hooks.received[0]
    assert verify(got.body, got.headers, [channel["secret"]], now=world.clock.now()) == good["id"]
    assert json.loads(got.body)["type"] == "notification.test"
    world.clock.advance(1)
    world.hooks.behave = lambda _: FakeAnswer(404, b"no such hook")
    bad = api.post(f"{CHANNELS}/{channel['id']}/test", {}).json()
    assert (bad["success"], bad["status"]) == (False, 404)
    send(world)
    assert len(world.hooks.received) == 2
    entries = api.get(f"{PATH}/history?event_type=notification.test").json()["entries"]
    assert [(e["delivery_status"], e["id"]) for e in entries] == [("failed", bad["id"]), ("delivered", good["id"])]
    assert entries[0]["tries"][0]["body"] == "no such hook"
    assert entries[0]["recipient"] == "hooks.example"


def test_tests_are_counted_and_need_an_enabled_channel(api: ApiClient) -> None:
    path = f"{CHANNELS}/{made(api)['id']}"
    for _ in range(TESTS.limit):
        assert api.post(f"{path}/test", {}).status == 200
    assert api.post(f"{path}/test", {}).status == 429
    api.request("PATCH", path, {"is_enabled": False})


def test_a_disabled_channel_is_neither_tested_nor_sent_to_again(api: ApiClient, world: World) -> None:
    path = f"{CHANNELS}/{made(api)['id']}"
    world.submit()
    send(world)
    api.request("PATCH", path, {"is_enabled": False})
    assert api.post(f"{path}/test", {}).json()["code"] == "channel_disabled"
    entry = api.get(f"{PATH}/history").json()["entries"][0]
    again = f"{PATH}/history/{entry['id']}/redeliver"
    assert api.post(again, {}).json()["code"] == "channel_disabled"
    api.delete(path)
    assert api.post(again, {}).json()["code"] == "channel_deleted"


# --- looking --------------------------------------------------------------------------------------------------------
def test_history_is_newest_first_in_pages_and_filtered(api: ApiClient, world: World) -> None:
    first, second = made(api), made(api, webhook_url="https://other.example/")
    for _ in range(3):
        world.submit()
        world.clock.advance(1)
    send(world)
    everything = api.get(f"{PATH}/history").json()
    assert (len(everything["entries"]), everything["has_more"]) == (6, False)
    ids = [e["id"] for e in everything["entries"]]
    assert ids == sorted(ids, reverse=True)
    page = api.get(f"{PATH}/history?limit=4").json()
    rest = api.get(f"{PATH}/history?limit=4&cursor={page['next']}").json()
    assert [e["id"] for e in page["entries"] + rest["entries"]] == ids
    mine = api.get(f"{PATH}/history?channel_id={second['id']}&event_type=job.submitted").json()["entries"]
    assert {e["channel_id"] for e in mine} == {second["id"]} != {first["id"]}
    assert api.get(f"{PATH}/history?event_type=job.complete").json()["code"] == "unknown_event"
    assert api.get(f"{PATH}/history?cursor=x").json()["code"] == "invalid_cursor"


def test_a_message_is_sent_again_under_its_id(api: ApiClient, world: World) -> None:
    made(api)
    world.submit()
    send(world)
    entry = api.get(f"{PATH}/history").json()["entries"][0]
    nudges = world.nudges
    again = api.post(f"{PATH}/history/{entry['id']}/redeliver", {})
    assert (again.status, again.json()["delivery_status"], world.nudges) == (202, "pending", nudges + 1)
    send(world)
    one, two = world.hooks.received
    assert one.headers["webhook-id"] == two.headers["webhook-id"] == entry["id"]
    assert one.body == two.body
    assert len(api.get(f"{PATH}/history").json()["entries"][0]["tries"]) == 2
    assert api.post(f"{PATH}/history/msg_none/redeliver", {}).json()["code"] == "message_not_found"


def test_event_types_and_status(api: ApiClient, world: World) -> None:
    listed = api.get(f"{PATH}/events").json()["event_types"]
    assert [e["id"] for e in listed] == list(EVENT_TYPES)
    assert all(e["name"] and e["category"] and e["description"] for e in listed)
    made(api)
    made(api, MAIL)
    world.submit()
    send(world)
    status = api.get(f"{PATH}/status").json()
    assert status["channels"]["by_type"] == {"webhook": 1, "email": 1}
    assert (status["channels"]["total"], status["channels"]["by_state"]["pending_confirmation"]) == (2, 1)
    assert status["stats"] == {"pending": 0, "delivered": 1, "failed": 0}


# --- rights and audit -----------------------------------------------------------------------------------------------
def test_whoever_may_look_may_not_change(api: ApiClient) -> None:
    channel = made(api)
    api.act_as("local", Permission.NOTIFICATION_VIEW)
    assert api.get(CHANNELS).status == 200
    assert api.delete(f"{CHANNELS}/{channel['id']}").status == 403


def test_what_is_done_is_in_the_audit_without_secrets(team: Team) -> None:
    rita = team.session("rita")
    channel = made(rita)
    path = f"{CHANNELS}/{channel['id']}"
    rita.request("PATCH", path, {"name": "new"})
    rita.post(f"{path}/test", {})
    rotated = rita.post(f"{path}/rotate-secret", {}).json()
    rita.delete(path)
    records = [r for r in team.world.audit.records if str(r.action).startswith("notification.")]
    assert [str(r.action).partition(".")[2] for r in records] == ["create", "change", "test", "rotate", "delete"]
    text = " ".join(r.model_dump_json() for r in records)
    assert "hooks.example" in text
    for secret in (channel["secret"], rotated["secret"], "s3cr3t"):
        assert secret not in text


def test_channels_go_with_their_person(team: Team) -> None:
    made(team.session("otto"), MAIL, email="otto@example.com")
    made(team.session("otto"))
    assert team.session("ada").delete(f"/api/users/{team.ids['otto']}").status == 200
    assert team.world.notifications.list_channels(team.ids["otto"]) == []
    assert team.world.credential_secrets.names(team.ids["otto"]) == []


def test_a_secret_that_can_t_be_read_yet_is_said_so(api: ApiClient, world: World) -> None:
    channel = made(api)
    world.credential_secrets.stored.clear()
    answer = api.post(f"{CHANNELS}/{channel['id']}/test", {})
    assert (answer.status, answer.json()["code"]) == (503, "unavailable")
