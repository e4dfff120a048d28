"""The steps of an inspection: what they find in files, and that they may be repeated, killed and overtaken."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import DatasetVersion, InspectionStatus, ManifestFile, is_name
from chalicelib.domain.inspection_facts import MAX_HASHED_BYTES, MAX_IMAGE_BYTES, FileFacts, Problem
from chalicelib.domain.inspection_findings import Level
from chalicelib.domain.inspection_report import WORK, InspectionReport, report_prefix, reports_prefix, work_prefix
from chalicelib.domain.media import Kind
from chalicelib.imaging.pillow_probe import PillowProbe
from chalicelib.services.inspection import STARTING, tend_inspections
from chalicelib.workflow import inspection as steps
from chalicelib.workflow.inspection_files import BUDGET, HASH_ABOVE, batch, look
from tests.corpus.images import Case, cases
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.probe import FakeProbe, fake_picture
from tests.fakes.world import OWNER, World
from tests.support.inspections import CallDiedError, event_of, inspect, summary
from tests.unit.services.between import Between

PICTURES = {f"{n}.png": fake_picture(seed=n) for n in range(1, 4)} | {
    f"{n}.txt": f"cat {n}".encode() for n in range(1, 4)
}


@pytest.fixture
def world() -> World:
    world = World()
    world.dataset_runner.when_inspecting = None
    return world


def pushed(world: World, files: dict[str, bytes] | None = None) -> DatasetVersion:
    version_id = world.push(files or PICTURES)
    version = world.ports.datasets.get_version(OWNER, "photos", version_id)
    assert version is not None
    return version


def state(world: World, version: DatasetVersion) -> Any:
    return summary(world.ports, OWNER, "photos", version.version_id)


def stored(world: World, version: DatasetVersion) -> InspectionReport:
    found = world.services.inspections.report(OWNER, "photos", version.version_id).report
    assert found is not None
    return found


# --- one file -----------------------------------------------------------------------------------------------------
def seen(path: str, content: bytes | None, **changes: Any) -> FileFacts:
    size = changes.pop("size", len(content or b""))
    file = ManifestFile(path=path, size=size, sha256="0" * 64)
    facts, _ = look(file, content, InMemoryObjectStore(), "p/", PillowProbe())
    return facts


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_each_image_of_the_corpus_gets_its_verdict(case: Case) -> None:
    facts = seen(case.name, case.data)
    assert set(facts.problems) == case.problems
    assert facts.kind is Kind.IMAGE
    if case.size is not None:
        assert (facts.width, facts.height) == case.size


def test_the_corpus_is_large_and_the_same_every_time() -> None:
    odd = [case for case in cases() if case.problems]
    assert len(odd) >= 30
    assert {p for case in odd for p in case.problems} >= {
        Problem.TRUNCATED, Problem.UNREADABLE, Problem.NOT_AN_IMAGE, Problem.TOO_MANY_PIXELS, Problem.MISLABELLED,
        Problem.FORMAT_UNSUPPORTED, Problem.CMYK, Problem.DEEP, Problem.ALPHA, Problem.ANIMATED, Problem.ROTATED,
    }  # fmt: skip
    assert cases() == cases()


@pytest.mark.parametrize(
    ("path", "content", "kind", "problems"),
    [
        ("a.txt", b"a cat", Kind.CAPTION, []),
        ("a.txt", b"", Kind.CAPTION, [Problem.CAPTION_EMPTY]),
        ("a.txt", "日本".encode("cp932"), Kind.CAPTION, [Problem.CAPTION_NOT_UTF8]),
        ("a.txt", b"\xef\xbb\xbfa cat", Kind.CAPTION, [Problem.CAPTION_BOM]),
        ("a.txt", b"hf_" + b"a" * 34, Kind.CAPTION, [Problem.SECRET_CONTENT]),
        ("a.mp4", b"\x00\x00\x00\x18ftypisom" + bytes(20), Kind.VIDEO, []),
        ("a.mkv", b"\x00\x00\x00\x18ftypisom" + bytes(20), Kind.VIDEO, [Problem.MISLABELLED]),
        ("a.mp4", b"", Kind.VIDEO, [Problem.EMPTY_FILE]),
        ("a.flac", b"fLaC" + bytes(20), Kind.AUDIO, []),
        ("a.ogg", b"OggS" + bytes(40), Kind.AUDIO, []),
        ("a.bin", b"\x1aE\xdf\xa3" + bytes(40), Kind.VIDEO, [Problem.MISLABELLED]),
        ("notes", b"some text", Kind.OTHER, [Problem.UNKNOWN]),
        (".env", b"A=1", Kind.OTHER, [Problem.SECRET_NAME, Problem.UNKNOWN]),
        ("k/server.pem", b"-----BEGIN " + b"PRIVATE KEY-----", Kind.OTHER,
         [Problem.SECRET_NAME, Problem.UNKNOWN, Problem.SECRET_CONTENT]),
        ("metadata.json", b"{}", Kind.METADATA, []),
        ("a.png", None, Kind.IMAGE, [Problem.MISSING]),
    ],
)  # fmt: skip
def test_other_files(path: str, content: bytes | None, kind: Kind, problems: list[Problem]) -> None:
    facts = seen(path, content)
    assert (facts.kind, list(facts.problems)) == (kind, problems)


def test_what_is_too_large_is_not_read() -> None:
    head = fake_picture()[:100]
    assert Problem.BIG_FILE in seen("a.png", head, size=MAX_IMAGE_BYTES + 1, ).problems  # fmt: skip
    assert seen("a.txt", b"a", size=2 * 1024**2).problems == (Problem.CAPTION_HUGE,)
    assert seen("a.mp4", b"\x00\x00\x00\x18ftypisom", size=MAX_HASHED_BYTES + 1).problems == (Problem.NOT_HASHED,)


def test_the_whole_of_a_file_that_went_up_in_parts_is_hashed() -> None:
    store = InMemoryObjectStore()
    data = b"\x1aE\xdf\xa3" + bytes(HASH_ABOVE)
    store.put("p/a.mkv", data)
    info = store.head("p/a.mkv")
    assert info is not None
    assert info.sha256 is not None
    for sha256, problems in ((info.sha256, ()), ("1" * 64, (Problem.CHECKSUM,))):
        file = ManifestFile(path="a.mkv", size=len(data), sha256=sha256)
        assert look(file, data[:4096], store, "p/", FakeProbe())[0].problems == problems
    gone = ManifestFile(path="b.mkv", size=len(data), sha256="1" * 64)
    assert look(gone, data[:4096], store, "p/", FakeProbe())[0].problems == (Problem.MISSING,)


# --- the whole ----------------------------------------------------------------------------------------------------
def test_a_complete_upload_asks_for_an_inspection_and_the_record_tells_how_far_it_is(world: World) -> None:
    version = pushed(world)
    assert state(world, version).status is InspectionStatus.PENDING
    assert [key[2] for key in world.dataset_runner.inspections] == [version.version_id]
    steps.plan(event_of(version), world.ports)
    assert state(world, version).status is InspectionStatus.RUNNING
    assert inspect(world.ports, version) == {"status": "done", "errors": 0}
    done = state(world, version)
    assert (done.status, done.errors, done.warnings, done.notes) == (InspectionStatus.DONE, 0, 0, 0)
    assert done.finished_at == world.clock.now()


def test_the_report_counts_and_shows(world: World) -> None:
    version = pushed(world, PICTURES | {"broken.png": b"no", "clip.mp4": b"\x00\x00\x00\x18ftypisom" + bytes(9)})
    inspect(world.ports, version)
    found = stored(world, version)
    assert found.facts.counts.model_dump() == {
        "files": 8, "bytes": version.bytes, "images": 4, "captions": 3, "video": 1, "audio": 0, "metadata": 0,
        "other": 0,
    }  # fmt: skip
    assert [f.code for f in found.findings] == ["not_an_image", "caption_missing"]
    assert found.sheet_paths == ("1.png", "2.png", "3.png")
    assert [fit.resolution for fit in found.fits] == [512, 1024]
    assert state(world, version).first_errors == ("A file is named like an image and is none.",)


def test_nothing_but_report_and_sheet_is_left(world: World) -> None:
    version = pushed(world)
    inspect(world.ports, version)
    kept = [info.key for info in world.dataset_files.list(reports_prefix(version))]
    assert kept == [f"{report_prefix(version, 1)}report.json", f"{report_prefix(version, 1)}sheet.jpg"]
    assert world.dataset_files.get(kept[1]) == b"sheet of 3"


def test_the_report_of_an_earlier_inspection_goes_with_the_next_one(world: World) -> None:
    version = pushed(world)
    inspect(world.ports, version)
    world.services.inspections.ask(OWNER, "photos", version.version_id)
    inspect(world.ports, version, attempt=2)
    kept = [info.key for info in world.dataset_files.list(reports_prefix(version))]
    assert kept == [f"{report_prefix(version, 2)}report.json", f"{report_prefix(version, 2)}sheet.jpg"]
    assert stored(world, version).attempt == 2


def test_what_decodes_images_reads_no_record_and_writes_to_its_work_alone(world: World) -> None:
    class Watched:
        def __init__(self) -> None:
            self.written: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(world.dataset_files, name)

        def put(self, key: str, data: bytes, **options: Any) -> None:
            self.written.append(key)
            world.dataset_files.put(key, data, **options)

    version, watched = pushed(world), Watched()
    event = event_of(version)
    planned = steps.plan(event, world.ports)
    alone = replace(world.ports, dataset_files=watched, datasets=object(), jobs=object())
    for number in planned["batches"]:
        batch({**event, **planned, "batch": number}, alone, FakeProbe())
    steps.sheet(event, alone, FakeProbe())
    work = work_prefix(OWNER, "photos", version.version_id, 1)
    assert watched.written
    assert [key for key in watched.written if not key.startswith(work)] == []
    assert not is_name(WORK.strip("/")), "no dataset may be named so: the role's pattern matches any place in a key"


def test_two_hundred_thumbnails_are_sampled_over_the_whole(world: World) -> None:
    version = pushed(world, {f"{n:04d}.png": fake_picture(seed=n) for n in range(450)})
    inspect(world.ports, version)
    shown = stored(world, version).sheet_paths
    assert len(shown) == 200
    assert (shown[0], shown[100], shown[199]) == ("0000.png", "0225.png", "0447.png")


def test_every_step_may_be_repeated(world: World) -> None:
    version = pushed(world, {f"{n:04d}.png": fake_picture(seed=n) for n in range(900)})
    event = event_of(version)
    for _ in range(2):
        planned = steps.plan(event, world.ports)
    assert len(planned["batches"]) > 1
    for number in [*planned["batches"], *planned["batches"]]:
        answer = batch({**event, **planned, "batch": number}, world.ports, FakeProbe())
        assert answer["done"]
    for _ in range(2):
        steps.sheet(event, world.ports, FakeProbe())
    steps.report(event, world.ports)
    assert steps.report(event, world.ports) == event
    assert stored(world, version).facts.counts.images == 900


def test_a_batch_that_runs_out_of_time_goes_on_in_the_next_call(world: World) -> None:
    class Slow(FakeProbe):
        def look(self, data: bytes, *, thumbnail: bool) -> Any:
            world.clock.advance(BUDGET.total_seconds() / 2)
            return super().look(data, thumbnail=thumbnail)

    version = pushed(world, {f"{n}.png": fake_picture(seed=n) for n in range(8)})
    inspect(world.ports, version, probe=Slow())
    assert stored(world, version).facts.counts.images == 8


def test_an_image_that_kills_its_function_takes_only_its_batch_with_it(world: World) -> None:
    class Deadly(FakeProbe):
        def look(self, data: bytes, *, thumbnail: bool) -> Any:
            if b'"seed": 450,' in data:
                raise CallDiedError
            return super().look(data, thumbnail=thumbnail)

    files = {f"{n:04d}.png": fake_picture(seed=n) for n in range(600)} | {"0599.txt": b"\x83\x65"}
    version = pushed(world, files)
    assert inspect(world.ports, version, probe=Deadly())["status"] == "done"
    found = {f.code: f for f in stored(world, version).findings}
    assert (found["not_inspected"].level, found["not_inspected"].count) == (Level.WARNING, 200)
    assert found["not_inspected"].paths[0] == "0400.png"
    # What decodes nothing is found all the same.
    assert found["caption_not_utf8"].count == 1
    assert stored(world, version).facts.usable_images == 400


def test_a_call_whose_first_file_takes_all_its_time_gets_on_by_that_file(world: World) -> None:
    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.dataset_files, name)

        def get(self, key: str, *, length: int | None = None) -> bytes | None:
            if key.startswith(version.prefix):
                world.clock.advance(2 * BUDGET.total_seconds())
            return world.dataset_files.get(key, length=length)

    version = pushed(world)
    event = event_of(version)
    state = {**event, **steps.plan(event, world.ports), "batch": 0}
    slow = replace(world.ports, dataset_files=Slow())
    reached = []
    for _ in PICTURES:
        state = batch(state, slow, FakeProbe())
        reached.append(state["at"])
    assert reached == [1, 2, 3, 4, 5, 6]
    assert state["done"]


def test_without_its_manifest_a_version_is_not_found_good(world: World) -> None:
    version = pushed(world)
    world.dataset_files.delete([version.manifest_key])
    with pytest.raises(steps.IncompleteError):
        steps.plan(event_of(version), world.ports)
    assert state(world, version).status is InspectionStatus.PENDING


def test_without_what_was_found_of_some_files_there_is_no_report(world: World) -> None:
    version = pushed(world, {f"{n:04d}.png": fake_picture(seed=n) for n in range(500)})
    event = event_of(version)
    planned = steps.plan(event, world.ports)
    batch({**event, **planned, "batch": 0}, world.ports, FakeProbe())
    with pytest.raises(steps.IncompleteError):
        steps.report(event, world.ports)
    assert state(world, version).status is InspectionStatus.RUNNING


def test_what_passes_between_states_is_small(world: World) -> None:
    version = pushed(world, {f"{n:04d}.png": fake_picture(seed=n) for n in range(2000)})
    assert len(json.dumps(steps.plan(event_of(version), world.ports))) < 2_000


def test_an_execution_that_was_overtaken_changes_nothing(world: World) -> None:
    version = pushed(world)
    inspect(world.ports, version)
    world.services.inspections.ask(OWNER, "photos", version.version_id)
    before = state(world, version)
    for step in (steps.plan, steps.report, steps.fail):
        step(event_of(version, 1), world.ports)
    steps.sheet(event_of(version, 1), world.ports, FakeProbe())
    assert state(world, version) == before
    inspect(world.ports, version, 2)
    assert (state(world, version).status, state(world, version).attempt) == (InspectionStatus.DONE, 2)


def test_of_a_version_deleted_meanwhile_nothing_stays(world: World) -> None:
    version = pushed(world)
    event = event_of(version)
    planned = steps.plan(event, world.ports)
    world.services.datasets.delete(OWNER, "photos")
    batch({**event, **planned, "batch": 0}, world.ports, FakeProbe())
    steps.sheet(event, world.ports, FakeProbe())
    assert steps.report(event, world.ports) == event
    assert steps.plan(event, world.ports)["batches"] == []


def test_deleting_a_version_deletes_its_reports(world: World) -> None:
    version = pushed(world)
    inspect(world.ports, version)
    world.services.datasets.delete_version(OWNER, "photos", version.version_id)
    assert list(world.dataset_files.list("")) == []


def test_a_failure_is_recorded_and_can_be_tried_again(world: World) -> None:
    version = pushed(world)
    steps.plan(event_of(version), world.ports)
    steps.fail({**event_of(version), "error": {"Error": "States.Timeout", "Cause": "a secret"}}, world.ports)
    failed = state(world, version)
    assert failed.status is InspectionStatus.FAILED
    assert "States.Timeout" in (failed.problem or "")
    assert "secret" not in (failed.problem or "")
    world.services.inspections.ask(OWNER, "photos", version.version_id)
    world.clock.advance(1)
    inspect(world.ports, version, 2)
    assert (state(world, version).status, state(world, version).problem) == (InspectionStatus.DONE, None)


# --- the sweeper --------------------------------------------------------------------------------------------------
def test_an_inspection_that_could_not_be_started_is_started_by_the_sweeper(world: World) -> None:
    world.dataset_runner.start_fails = 1
    version = pushed(world)
    assert world.dataset_runner.inspections == {}
    assert world.sweep().inspections_restarted == 0
    world.clock.advance(61)
    assert world.sweep().inspections_restarted == 1
    assert state(world, version).attempt == 2
    inspect(world.ports, version, 2)
    assert state(world, version).status is InspectionStatus.DONE
    world.clock.advance(3600)
    assert world.sweep().inspections_restarted == 0


def test_an_inspection_asked_for_anew_while_the_sweeper_looks_is_left_alone(world: World) -> None:
    version = pushed(world)
    world.dataset_runner.inspections.clear()
    world.clock.advance(STARTING.total_seconds() + 1)

    def asked_anew() -> None:
        world.pass_inspection(version, 1)
        world.services.inspections.ask(OWNER, "photos", version.version_id)

    runner = Between(world.dataset_runner, "inspection_state", asked_anew, after=True)
    found = tend_inspections(replace(world.ports, dataset_runner=runner), world.clock.now() + timedelta(minutes=1))
    assert (found.restarted, found.given_up) == (0, 0)
    assert (state(world, version).attempt, state(world, version).tries) == (2, 1)


def test_an_inspection_that_dies_again_and_again_is_given_up(world: World) -> None:
    version = pushed(world)
    for attempt in (1, 2, 3):
        steps.plan(event_of(version, attempt), world.ports)
        world.clock.advance(300)
        world.sweep()
        assert state(world, version).attempt == attempt
        world.dataset_runner.end_inspection(version, attempt)
        world.sweep()
    given_up = state(world, version)
    assert (given_up.status, given_up.attempt, given_up.tries) == (InspectionStatus.FAILED, 3, 3)
    assert "3 times" in (given_up.problem or "")
    again = world.services.inspections.ask(OWNER, "photos", version.version_id)
    assert again.inspection is not None
    assert (again.inspection.attempt, again.inspection.tries) == (4, 1)


def test_uploads_and_deletions_that_died_are_told_from_inspections(world: World) -> None:
    version = pushed(world)
    world.clock.advance(timedelta(days=30).total_seconds())
    world.sweep()
    assert world.ports.datasets.get_version(OWNER, "photos", version.version_id) is not None
