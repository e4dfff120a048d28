"""Named credentials over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.credentials import HubSecret, S3Secret, WebhookSecret
from chalicelib.domain.delivery_ports import CheckedTarget, DeliveryFault
from chalicelib.domain.permissions import Permission
from chalicelib.services.credential_tests import ANY_REPOSITORY, TESTS
from tests.fakes.world import World
from tests.unit.api.client import ApiClient, with_ports
from tests.unit.api.team import Team

PATH = "/api/cloud/credentials"
TOKEN = "hf_" + "aBcD1234" * 4
HUB = {"name": "hub", "kind": "huggingface", "token": TOKEN}
KEYS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
S3: dict[str, Any] = {"name": "r2", "kind": "s3", **KEYS}
BUCKET = {"kind": "s3", "bucket": "models", "endpoint_url": "https://r2.example", "region": "auto"}
HOOK = {"name": "hook", "kind": "webhook"}


def refusal(answer: Any) -> tuple[int, str, str]:
    return answer.status, answer.json()["code"], answer.json()["errors"][0]["field"]


# --- storing ------------------------------------------------------------------------------------------------------
def test_a_credential_is_shown_without_its_secret(api: ApiClient) -> None:
    made = api.post(PATH, HUB)
    assert (made.status, made.json()["secret"], made.json()["warnings"]) == (201, None, [])
    view = made.json()["credential"]
    assert (view["name"], view["kind"], view["hint"], view["secret_version"]) == ("hub", "huggingface", "…1234", 1)
    assert (view["rotated_at"], view["tested_at"], view["test_passed"], view["facts"]) == (None, None, None, [])
    assert api.get(PATH).json() == {"credentials": [view]}
    assert api.get(f"{PATH}/hub").json() == {**view, "used_by": []}
    assert api.get(f"{PATH}/nosuch").json()["code"] == "credential_not_found"


def test_the_access_key_of_s3_is_shown_as_it_is_no_secret(api: ApiClient) -> None:
    made = api.post(PATH, {**S3, "session_token": "x" * 900})
    assert made.json()["credential"]["hint"] == KEYS["access_key_id"]
    assert "ends after hours" in made.json()["warnings"][0]


def test_a_signing_secret_is_made_and_shown_this_once(api: ApiClient, world: World) -> None:
    made = api.post(PATH, HOOK).json()
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in api.get(f"{PATH}/hook").body.decode() + api.get(PATH).body.decode()
    own = api.post(PATH, {**HOOK, "name": "own", "secret": made["secret"]})
    assert (own.status, own.json()["secret"]) == (201, None)


def test_a_name_is_taken_once(api: ApiClient) -> None:
    api.post(PATH, HUB)
    assert refusal(api.post(PATH, HUB)) == (409, "credential_exists", "name")
    assert "stcloud credentials rotate hub" in api.post(PATH, HUB).json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**HUB, "token": ""}, "token"),
        ({"name": "hub", "kind": "huggingface"}, "token"),
        ({**HUB, "token": "hf_a\x00b"}, "token"),
        ({**HUB, "token": ["hf_a"]}, "token"),
        ({**HUB, "tokn": "hf_a"}, "tokn"),
        ({**HUB, "secret_access_key": "x"}, "secret_access_key"),
        ({**HUB, "kind": "gitlab"}, "kind"),
        ({**HUB, "name": "Hub"}, "name"),
        ({**HUB, "name": "-hub"}, "name"),
        ({**HUB, "name": "hub/../x"}, "name"),
        ({**HUB, "name": "x" * 64}, "name"),
        ({**HUB, "name": "hub\n"}, "name"),
        ({**HUB, "name": ""}, "name"),
        ({**HUB, "name": "hf_" + "a" * 34}, "name"),
        ({"kind": "webhook"}, "name"),
        ({**S3, "session_token": "x" * 4000}, "session_token"),
        (
            {**S3, "access_key_id": KEYS["secret_access_key"], "secret_access_key": KEYS["access_key_id"]},
            "access_key_id",
        ),
        ({**HOOK, "secret": "secret"}, "secret"),
    ],
)
def test_a_wrong_field_is_named(api: ApiClient, world: World, body: dict[str, Any], field: str) -> None:
    answer = api.post(PATH, body)
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, field)
    assert world.credential_secrets.stored == {}


def test_rotating_replaces_the_secret_alone(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    answer = api.put(f"{PATH}/hub/secret", {"token": "hf_" + "9" * 30})
    assert answer.status == 200
    view = answer.json()["credential"]
    assert (view["hint"], view["secret_version"], view["rotated_at"] is not None) == ("…9999", 2, True)
    assert len(world.credential_secrets.stored) == 1
    assert TOKEN not in str(world.credential_secrets.stored)
    assert refusal(api.put(f"{PATH}/hub/secret", {}))[2] == "token"
    assert refusal(api.put(f"{PATH}/hub/secret", {"secret": "whsec_x"}))[2] == "secret"
    assert api.put(f"{PATH}/nosuch/secret", {"token": TOKEN}).status == 404


def test_rotating_a_webhook_makes_another_and_keeps_the_last_one_signing(api: ApiClient, world: World) -> None:
    first = api.post(PATH, HOOK).json()["secret"]
    second = api.put(f"{PATH}/hook/secret", {}).json()["secret"]
    (stored,) = world.credential_secrets.stored.values()
    assert first in stored
    assert second in stored
    api.put(f"{PATH}/hook/secret", {"keep_previous": False})
    (stored,) = world.credential_secrets.stored.values()
    assert first not in stored
    assert second not in stored


def test_deleting_takes_the_secret_along(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    done = api.delete(f"{PATH}/hub")
    assert (done.status, done.json()) == (200, {"name": "hub", "used_by": []})
    assert world.credential_secrets.stored == {}
    assert api.delete(f"{PATH}/hub").status == 404
    assert api.post(PATH, HUB).status == 201


# --- whose they are -----------------------------------------------------------------------------------------------
def test_credentials_belong_to_their_owner(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    api.act_as("other", Permission.CREDENTIAL_VIEW, Permission.CREDENTIAL_EDIT)
    assert api.get(PATH).json() == {"credentials": []}
    tries = [
        api.get(f"{PATH}/hub"),
        api.put(f"{PATH}/hub/secret", {"token": TOKEN}),
        api.post(f"{PATH}/hub/test", {}),
        api.delete(f"{PATH}/hub?force=true"),
    ]
    assert [t.status for t in tries] == [404] * 4
    assert api.post(PATH, {**HUB, "token": "hf_" + "z" * 30}).status == 201
    assert len(world.credential_secrets.stored) == 2


def test_who_may_see_may_not_change(api: ApiClient) -> None:
    api.post(PATH, HUB)
    api.act_as("local", Permission.CREDENTIAL_VIEW)
    assert api.get(f"{PATH}/hub").status == 200
    tries = [
        api.post(PATH, S3),
        api.put(f"{PATH}/hub/secret", {"token": TOKEN}),
        api.post(f"{PATH}/hub/test", {}),
        api.delete(f"{PATH}/hub"),
    ]
    assert [t.status for t in tries] == [403] * 4


def test_roles(team: Team) -> None:
    for name, status in (("ada", 201), ("lena", 201), ("rita", 201), ("vera", 403)):
        assert team.session(name).post(PATH, HUB).status == status
    assert team.session("vera").get(PATH).status == 403
    assert team.key("rita", scoped_permissions=["credential.view"]).get(PATH).status == 200


def test_they_are_deleted_with_their_person(team: Team) -> None:
    for name in ("otto", "rita"):
        team.session(name).post(PATH, HUB)
    assert team.session("ada").delete(f"/api/users/{team.ids['otto']}").status == 200
    assert {owner for owner, _ in team.world.credential_secrets.stored} == {team.ids["rita"]}
    assert team.world.credentials.list_of(team.ids["otto"]) == []


def test_whoever_left_leaves_no_new_ones_with_the_session_they_had(team: Team) -> None:
    otto = team.session("otto")
    assert otto.get(PATH).status == 200
    assert team.session("ada").delete(f"/api/users/{team.ids['otto']}").status == 200
    late = otto.post(PATH, HUB)
    assert (late.status, late.json()["code"]) == (401, "account_inactive")
    assert team.world.credential_secrets.stored == {}


def test_they_stay_with_a_person_who_is_shut_out_for_now(team: Team) -> None:
    team.session("otto").post(PATH, HUB)
    path = f"/api/users/{team.ids['otto']}"
    assert team.session("ada").post(f"{path}/deactivate").status == 200
    assert team.session("ada").post(f"{path}/activate").status == 200
    assert len(team.world.credential_secrets.stored) == 1


def test_the_audit_tells_what_was_done_and_no_secret(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    api.post(PATH, HUB)
    api.post(f"{PATH}/hub/test", {})
    api.put(f"{PATH}/hub/secret", {"token": "hf_" + "9" * 30})
    api.delete(f"{PATH}/hub?force=true")
    told = [(str(r.action), r.result.value, r.target, r.details) for r in world.audit.records]
    assert told == [
        ("credential.create", "allowed", "credential:hub", {"kind": "huggingface", "secret_version": 1}),
        ("credential.create", "failed", "credential:new", {}),
        ("credential.test", "allowed", "credential:hub", {"passed": True}),
        ("credential.rotate", "allowed", "credential:hub", {"kind": "huggingface", "secret_version": 2}),
        ("credential.delete", "allowed", "credential:hub", {"forced": True, "uses": 0}),
    ]


# --- trying -------------------------------------------------------------------------------------------------------
def test_a_token_of_the_hub_is_tried_as_it_is(api: ApiClient, world: World) -> None:
    world.targets.facts = ("writes as alice",)
    api.post(PATH, HUB)
    tested = api.post(f"{PATH}/hub/test", {}).json()
    assert (tested["passed"], tested["facts"], tested["problem"]) == (True, ["writes as alice"], None)
    assert world.targets.calls == [
        ("connect", f"huggingface:{ANY_REPOSITORY}"),
        ("check", f"huggingface:{ANY_REPOSITORY}"),
    ]
    (secret,) = world.targets.secrets
    assert isinstance(secret, HubSecret)
    assert secret.token.get_secret_value() == TOKEN
    view = api.get(f"{PATH}/hub").json()
    assert (view["test_passed"], view["facts"], view["tested_at"] is not None) == (True, ["writes as alice"], True)


def test_a_token_without_a_place_is_told_of_its_owners_repositories(api: ApiClient) -> None:
    class Hub:
        def check(self, *, seconds: float) -> CheckedTarget:
            repo_id = f"alice/{ANY_REPOSITORY}"
            return CheckedTarget((f"{repo_id} will be made",), {"repo_id": repo_id})

    api.services = with_ports(api.services, targets=lambda _destination, _secret: Hub())
    api.post(PATH, HUB)
    assert api.post(f"{PATH}/hub/test", {}).json()["facts"] == ["makes repositories of alice, and writes to them"]
    there = {"kind": "huggingface", "repo_id": f"alice/{ANY_REPOSITORY}"}
    named = api.post(f"{PATH}/hub/test", {"destination": there}).json()
    assert named["facts"] == [f"alice/{ANY_REPOSITORY} will be made"]


@pytest.mark.parametrize("code", ["forbidden", "not_found"])
def test_a_token_for_one_repository_is_not_called_wrong(api: ApiClient, world: World, code: str) -> None:
    api.post(PATH, HUB)
    world.targets.faults["check"] = [DeliveryFault(code, "It may not write there.", "Make another.", retry=False)]
    tested = api.post(f"{PATH}/hub/test", {}).json()
    assert tested["passed"] is False
    assert "stcloud credentials test hub --to huggingface:OWNER/NAME" in tested["problem"]["advice"]
    assert "Make another." in tested["problem"]["advice"]
    assert api.get(f"{PATH}/hub").json()["tested_at"] is None
    world.targets.faults["check"] = [DeliveryFault("unauthorized", "It is no token.", "Rotate it.", retry=False)]
    assert api.post(f"{PATH}/hub/test", {}).json()["problem"]["advice"] == "Rotate it."
    assert api.get(f"{PATH}/hub").json()["test_passed"] is False


def test_keys_and_webhooks_are_tried_somewhere(api: ApiClient, world: World) -> None:
    api.post(PATH, S3)
    api.post(PATH, HOOK)
    assert api.post(f"{PATH}/r2/test", {"destination": {**BUCKET, "prefix": "a"}}).json()["passed"]
    hook = {"kind": "webhook", "url": "https://me.example/hook?token=x"}
    assert api.post(f"{PATH}/hook/test", {"destination": hook}).json()["passed"]
    assert [name for call, name in world.targets.calls if call == "check"] == ["s3://models/a", "https://me.example"]
    assert [type(s) for s in world.targets.secrets] == [S3Secret, WebhookSecret]


@pytest.mark.parametrize(
    ("name", "destination", "field"),
    [
        ("r2", None, "destination"),
        ("hook", None, "destination"),
        ("r2", {"kind": "webhook", "url": "https://me.example"}, "destination"),
        ("hub", BUCKET, "destination"),
        ("r2", {**BUCKET, "credential": "hub"}, "destination"),
        ("r2", {"kind": "s3"}, "destination.s3.bucket"),
        ("r2", {"bucket": "models"}, "destination"),
        ("r2", {"kind": "ftp"}, "destination"),
        ("r2", {**BUCKET, "secret_access_key": "x"}, "destination.s3.secret_access_key"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(
    api: ApiClient, world: World, name: str, destination: dict[str, Any] | None, field: str
) -> None:
    for body in (HUB, S3, HOOK):
        api.post(PATH, body)
    answer = api.post(f"{PATH}/{name}/test", {"destination": destination})
    assert refusal(answer)[0::2] == (422, field)
    assert world.targets.calls == []


def test_its_own_name_may_be_said(api: ApiClient) -> None:
    api.post(PATH, S3)
    assert api.post(f"{PATH}/r2/test", {"destination": {**BUCKET, "credential": "r2"}}).json()["passed"]


def test_a_refusal_of_the_destination_is_an_answer_and_is_kept(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    fault = DeliveryFault("forbidden", "alice may not write to acme/cats.", "Ask for the role 'write'.", retry=False)
    world.targets.faults["check"] = [fault]
    answer = api.post(f"{PATH}/hub/test", {"destination": {"kind": "huggingface", "repo_id": "acme/cats"}})
    assert answer.status == 200
    assert answer.json()["passed"] is False
    assert answer.json()["problem"] == {
        "code": "forbidden",
        "message": "alice may not write to acme/cats.",
        "advice": "Ask for the role 'write'.",
        "temporary": False,
    }
    view = api.get(f"{PATH}/hub").json()
    assert (view["test_passed"], view["facts"]) == (False, ["alice may not write to acme/cats."])


def test_what_can_not_be_reached_says_nothing_of_the_credential(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    assert api.post(f"{PATH}/hub/test", {}).json()["passed"]
    world.targets.faults["check"] = [DeliveryFault("unavailable", "The Hub is down.", "Try later.", retry=True)]
    answer = api.post(f"{PATH}/hub/test", {}).json()
    assert (answer["passed"], answer["problem"]["temporary"]) == (False, True)
    assert api.get(f"{PATH}/hub").json()["test_passed"] is True


def test_a_secret_that_is_gone_is_a_failed_test(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    world.clock.advance(600)
    world.credential_secrets.stored.clear()
    answer = api.post(f"{PATH}/hub/test", {}).json()
    assert (answer["passed"], answer["problem"]["code"]) == (False, "credential_missing")
    assert "stcloud credentials rotate hub" in answer["problem"]["advice"]


def test_what_a_destination_repeats_of_the_secret_is_not_passed_on(api: ApiClient, world: World) -> None:
    api.post(PATH, S3)
    secret = KEYS["secret_access_key"]
    world.targets.faults["check"] = [DeliveryFault("forbidden", f"bad {secret}", f"not {secret}", retry=False), None]
    world.targets.facts = (f"signed with {secret}", "x" * 1000, *("more" for _ in range(50)))
    heard = [api.post(f"{PATH}/r2/test", {"destination": BUCKET}).body.decode() for _ in range(2)]
    heard += [api.get(f"{PATH}/r2").body.decode(), str(world.credentials.list_of("local"))]
    assert secret not in "".join(heard)
    facts = api.get(f"{PATH}/r2").json()["facts"]
    assert facts[0] == "signed with [redacted]"
    assert (len(facts), max(len(f) for f in facts)) == (20, 300)


def test_a_test_of_a_secret_that_was_rotated_meanwhile_is_not_kept(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    call = world.targets.note

    def rotating(name: str, where: str) -> None:
        call(name, where)
        if name == "check":
            api.put(f"{PATH}/hub/secret", {"token": "hf_" + "9" * 30})

    world.targets.note = rotating  # type: ignore[method-assign]
    assert api.post(f"{PATH}/hub/test", {}).json()["passed"]
    view = api.get(f"{PATH}/hub").json()
    assert (view["secret_version"], view["test_passed"]) == (2, None)


def test_nobody_knocks_at_others_doors_with_our_hand(api: ApiClient, world: World) -> None:
    api.post(PATH, HUB)
    for _ in range(TESTS.limit):
        assert api.post(f"{PATH}/hub/test", {}).status == 200
    refused = api.post(f"{PATH}/hub/test", {})
    assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
    assert world.targets.count("check") == TESTS.limit
    world.clock.advance(TESTS.window)
    assert api.post(f"{PATH}/hub/test", {}).status == 200
