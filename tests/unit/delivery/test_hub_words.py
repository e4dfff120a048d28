"""What the Hub's answers and a token's rights mean, without a Hub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.delivery.hub_faults import HubWords, asked_pause, excerpt
from chalicelib.delivery.hub_plans import Notes, Plan
from chalicelib.delivery.hub_rights import full_name, rights_on
from chalicelib.domain.delivery_ports import DeliveryFault
from tests.fakes.aws import InMemoryObjectStore

WORDS = HubWords("https://huggingface.co", "acme/cats", "hub")
OID = "a" * 64


@pytest.mark.parametrize(
    ("status", "text", "code", "retry"),
    [
        (401, "Invalid credentials", "unauthorized", False),
        (402, "anything", "quota", False),
        (403, "You don't have the rights", "forbidden", False),
        (403, "Private repository storage limit reached", "quota", False),
        (404, "Repository not found", "not_found", False),
        (408, "", "timeout", True),
        (409, "another conflicting operation is in progress", "conflict", True),
        (412, "A commit has happened since", "conflict", True),
        (413, "", "too_large", False),
        (422, "Max allowed file size is 50 GB", "too_large", False),
        (422, "nonsense", "bad_destination", False),
        (400, "LFS pointer pointed to a file that does not exist", "bad_destination", True),
        (429, "", "throttled", True),
        (500, "", "unavailable", True),
        (503, "", "unavailable", True),
        (599, "", "unavailable", True),
        (418, "", "bad_destination", False),
    ],
)
def test_answers_become_faults(status: int, text: str, code: str, retry: bool) -> None:
    fault = WORDS.answered(status, {}, text)
    assert (fault.code, fault.retry) == (code, retry)
    assert fault.message
    assert fault.advice


def test_a_lost_object_makes_the_notes_worthless() -> None:
    assert WORDS.answered(400, {}, "LFS pointer pointed to a file that does not exist").restart


def test_no_answer_of_the_hub_leaks_a_secret() -> None:
    said = 'no: {"error":"token hf_abcdefghij is bad"} https://s3/x?X-Amz-Signature=abc&key=zzz Bearer hf_zzzz\x00\n'
    clean = excerpt(said)
    assert "hf_" not in clean
    assert "abc" not in excerpt("https://s3/x?X-Amz-Signature=abc&key=zzz")
    assert "zzz" not in excerpt("https://s3/x?X-Amz-Signature=abc&key=zzz Bearer zzz")
    assert clean.isprintable()
    assert len(excerpt("x" * 5000)) <= 200


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 56),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}, 56),
        ({"ratelimit": "nonsense", "retry-after": "3"}, 3),
        ({"retry-after": "999999999"}, 86_400),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Tue, 24 Nov 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_the_pause_that_is_asked_for(headers: dict[str, str], seconds: int | None) -> None:
    assert asked_pause(headers, NOW) == (None if seconds is None else timedelta(seconds=seconds))


def whoami(role: str, *, orgs: Any = (), scoped: Any = ()) -> dict[str, Any]:
    token = {"role": role, "fineGrained": {"scoped": list(scoped)}}
    return {"name": "alice", "orgs": list(orgs), "auth": {"accessToken": token}}


def scope(kind: str, name: str, *permissions: str) -> dict[str, Any]:
    return {"entity": {"type": kind, "name": name}, "permissions": list(permissions)}


@pytest.mark.parametrize(
    ("answer", "writes", "creates"),
    [
        (whoami("write", orgs=[{"name": "acme", "roleInOrg": "admin"}]), True, True),
        (whoami("write", orgs=[{"name": "acme", "roleInOrg": "contributor"}]), True, True),
        (whoami("write", orgs=[{"name": "acme", "roleInOrg": "read"}]), False, False),
        (whoami("write", orgs=[{"name": "acme"}]), False, False),
        (whoami("write"), False, False),
        (whoami("read", orgs=[{"name": "acme", "roleInOrg": "admin"}]), False, False),
        (whoami("fineGrained", scoped=[scope("org", "acme", "repo.write")]), True, True),
        (whoami("fineGrained", scoped=[scope("model", "acme/cats", "repo.write")]), True, False),
        (whoami("fineGrained", scoped=[scope("model", "acme/dogs", "repo.write")]), False, False),
        (whoami("fineGrained", scoped=[scope("dataset", "acme/cats", "repo.write")]), False, False),
        (whoami("fineGrained", scoped=[scope("org", "acme", "repo.content.read")]), False, False),
        (whoami("fineGrained", orgs=[{"name": "acme", "roleInOrg": "admin"}]), False, False),
        (whoami("somethingNew"), False, False),
        ({"name": "alice"}, False, False),
        ({"name": "alice", "auth": None, "orgs": None}, False, False),
    ],
)
def test_rights_fail_closed(answer: dict[str, Any], writes: bool, creates: bool) -> None:
    rights = rights_on("acme/cats", answer)
    assert (rights.writes, rights.creates) == (writes, creates)
    assert (rights.why_not is None) == writes


def test_ones_own_namespace_needs_no_membership() -> None:
    assert rights_on("alice/cats", whoami("write")).creates
    assert full_name("cats", whoami("write")) == "alice/cats"
    assert full_name("acme/cats", whoami("write")) == "acme/cats"


def action(size: int, **upload: Any) -> dict[str, Any]:
    return {"oid": OID, "size": size, "actions": {"upload": {"href": "https://hub/complete", **upload}}}


def test_a_plan_of_parts() -> None:
    links = {"00002": "https://s3/2", "chunk_size": "10", "00001": "https://s3/1", "00003": "https://s3/3"}
    plan = Plan.of(action(25, header=links))
    assert plan is not None
    assert list(plan.links) == ["https://s3/1", "https://s3/2", "https://s3/3"]
    assert [plan.length(n) for n in plan.missing] == [10, 10, 5]
    plan.etags[3] = "x"
    assert (plan.missing, plan.arrived) == ([1, 2], 5)


def test_content_that_is_there_needs_no_plan() -> None:
    assert Plan.of({"oid": OID, "size": 1}) is None


@pytest.mark.parametrize(
    "header",
    [
        {"chunk_size": "0", "00001": "a"},
        {"chunk_size": "x", "00001": "a"},
        {"chunk_size": "10", "00001": "a"},
        {"chunk_size": "-1"},
    ],
)
def test_a_plan_that_can_t_be_right_is_refused(header: dict[str, str]) -> None:
    with pytest.raises(DeliveryFault) as raised:
        Plan.of(action(25, header=header))
    assert raised.value.retry


def test_notes_are_of_one_upload_only() -> None:
    store = InMemoryObjectStore()
    notes = Notes(store, "o/j/deliveries/d/")
    links = {"chunk_size": "10", **{f"{n:05d}": f"https://s3/{n}" for n in (1, 2, 3)}}
    first = Plan.of(action(25, header=links))
    assert first is not None
    assert notes.load(OID, 25) is None
    notes.begin(first)
    first.etags[2] = "two"
    notes.arrived(first)
    again = notes.load(OID, 25)
    assert again is not None
    assert (again.etags, again.links) == ({2: "two"}, first.links)
    assert notes.load(OID, 26) is None
    other = Plan.of({**action(25, header=links), "actions": {"upload": {"href": "https://hub/other", "header": links}}})
    assert other is not None
    notes.begin(other)
    loaded = notes.load(OID, 25)
    assert loaded is not None
    assert loaded.etags == {}
    store.put(f"o/j/deliveries/d/hub/{OID}.links.json", b"garbage")
    assert notes.load(OID, 25) is None
    notes.forget(other)
    assert list(store.list("o/")) == []
