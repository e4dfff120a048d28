"""Weights files, webhook signatures, failures, costs: what is refused, and with which reason."""

from __future__ import annotations

import base64
import json
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.classify import MAX_QUOTE, classify_failure
from chalicelib.domain.failures import FaultKind
from chalicelib.domain.jobs import IllegalMoveError
from chalicelib.domain.lifecycle import MAX_TRIES, Change, ContendedError, JobGoneError, mutate
from chalicelib.domain.logs import utf8_slice
from chalicelib.domain.ports import StaleRecordError
from chalicelib.domain.predictions import Prediction, PredictionStatus
from chalicelib.domain.pricing import REPLICATE_HARDWARE, cost
from chalicelib.domain.progress import DIVERGED, has_diverged, loss_points, parse_progress
from chalicelib.domain.safetensors import (
    MAX_HEADER_BYTES,
    Defect,
    SafetensorsError,
    header_length,
    parse_header,
)
from chalicelib.domain.trainer import secret_problems
from chalicelib.domain.webhook_signing import MAX_HEADER_CHARS, Rejection, WebhookRejected, sign, verify
from tests.fakes.world import World, safetensors

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
OTHER = "whsec_" + base64.b64encode(b"fedcba9876543210").decode()


# --- safetensors ----------------------------------------------------------------------------------------------
def weights(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


def test_a_sound_adapter_is_described() -> None:
    data = safetensors({"unet.lora_A.weight": [4, 8], "unet.lora_B.weight": [8, 4]})
    header = parse_header(data)
    assert (header.tensor_count, header.parameters, header.rank) == (2, 64, 4)
    assert header.dtypes == {"F32": 2}
    assert parse_header(data[:200], file_size=len(data)) == header, "the rest of the file need not be there"


def test_metadata_is_read() -> None:
    data = weights({"__metadata__": {"format": "pt"}, "w": entry()}, bytes(8))
    header = parse_header(data)
    assert (header.metadata, header.rank) == ({"format": "pt"}, None)


@pytest.mark.parametrize(
    ("data", "defect"),
    [
        (b"", Defect.TRUNCATED),
        (b"1234567", Defect.TRUNCATED),
        (struct.pack("<Q", MAX_HEADER_BYTES + 1), Defect.HEADER_TOO_LARGE),
        (struct.pack("<Q", 100) + b"{}", Defect.TRUNCATED),
        (weights(b"[]"), Defect.NOT_JSON),
        (weights(b"{bad"), Defect.NOT_JSON),
        (weights(b'{"w": "\xc3\x28"}'), Defect.NOT_JSON),
        (weights(b'{"w": NaN}'), Defect.NOT_JSON),
        (weights(b'{"a":' * 100_000), Defect.NOT_JSON),
        (weights(b'{"w": 1, "w": 2}'), Defect.DUPLICATE_NAME),
        (weights({"__metadata__": {"a": 1}}), Defect.INVALID_ENTRY),
        (weights({"__metadata__": []}), Defect.INVALID_ENTRY),
        (weights({"w": []}), Defect.INVALID_ENTRY),
        (weights({"w": entry(dtype="F99")}), Defect.UNKNOWN_DTYPE),
        (weights({"w": entry(dtype=["F32"])}), Defect.UNKNOWN_DTYPE),
        (weights({"w": entry(shape=[-1])}), Defect.INVALID_ENTRY),
        (weights({"w": entry(shape=[True])}), Defect.INVALID_ENTRY),
        (weights({"w": entry(shape=[1] * 65)}), Defect.INVALID_ENTRY),
        (weights({"w": entry(data_offsets=[8, 0])}), Defect.INVALID_OFFSETS),
        (weights({"w": entry(data_offsets=[0])}), Defect.INVALID_OFFSETS),
        (weights({"w": entry(data_offsets=[4, 12])}, bytes(12)), Defect.INVALID_OFFSETS),
        (weights({"a": entry(), "b": entry(data_offsets=[4, 12])}, bytes(12)), Defect.INVALID_OFFSETS),
        (weights({"w": entry(shape=[3])}, bytes(8)), Defect.SIZE_MISMATCH),
        (weights({"w": entry(dtype="F4", shape=[3], data_offsets=[0, 1])}, bytes(1)), Defect.SIZE_MISMATCH),
        (weights({"w": entry()}, bytes(7)), Defect.TRUNCATED),
        (weights({"w": entry()}, bytes(9)), Defect.TRAILING_DATA),
    ],
)
def test_every_defect_has_its_name(data: bytes, defect: Defect) -> None:
    with pytest.raises(SafetensorsError) as caught:
        parse_header(data)
    assert caught.value.defect is defect
    assert len(str(caught.value)) < 200


def test_a_header_that_was_not_read_to_its_end_is_told_apart_from_a_cut_file() -> None:
    data = safetensors()
    with pytest.raises(SafetensorsError) as caught:
        parse_header(data[:20], file_size=len(data))
    assert caught.value.defect is Defect.HEADER_INCOMPLETE
    assert header_length(data) > 12


def test_a_name_from_the_file_can_not_make_a_message_long_or_unprintable() -> None:
    with pytest.raises(SafetensorsError) as caught:
        parse_header(weights({"\x1b[2J" + "x" * 1000: []}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120


# --- webhook signatures ---------------------------------------------------------------------------------------
def test_what_was_signed_verifies_with_any_of_the_secrets() -> None:
    headers = sign(b"body", webhook_id="m1", at=NOW, secrets=[OTHER, SECRET])
    assert verify(b"body", {k.upper(): v for k, v in headers.items()}, [SECRET], now=NOW) == "m1"
    assert verify(b"body", headers, ["whsec_broken!", OTHER], now=NOW) == "m1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook-id": ""}, Rejection.MISSING_HEADER),
        ({"WEBHOOK-ID": "m2"}, Rejection.AMBIGUOUS_HEADER),
        ({"webhook-id": "a.b"}, Rejection.INVALID_ID),
        ({"webhook-id": "x" * 257}, Rejection.INVALID_ID),
        ({"webhook-timestamp": "-1"}, Rejection.INVALID_TIMESTAMP),
        ({"webhook-timestamp": "٣"}, Rejection.INVALID_TIMESTAMP),
        ({"webhook-timestamp": "0"}, Rejection.TOO_OLD),
        ({"webhook-timestamp": "999999999999"}, Rejection.TOO_NEW),
        ({"webhook-signature": "v2,abc"}, Rejection.INVALID_SIGNATURE_HEADER),
        ({"webhook-signature": "v1,"}, Rejection.INVALID_SIGNATURE_HEADER),
        ({"webhook-signature": "v1," + "a" * MAX_HEADER_CHARS}, Rejection.INVALID_SIGNATURE_HEADER),
        ({"webhook-signature": "v1,é"}, Rejection.NO_MATCH),
    ],
)
def test_every_rejection_has_its_reason_and_repeats_nothing(changes: dict[str, str], reason: Rejection) -> None:
    headers = {**sign(b"body", webhook_id="m1", at=NOW, secrets=[SECRET]), **changes}
    with pytest.raises(WebhookRejected) as caught:
        verify(b"body", headers, [SECRET], now=NOW)
    assert caught.value.reason is reason
    assert caught.value.may_be_rotation == (reason is Rejection.NO_MATCH)
    assert "m1" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_!!!", "whsec_é"])
def test_a_secret_nobody_issues_lets_nobody_sign(secret: str) -> None:
    headers = sign(b"", webhook_id="m", at=NOW, secrets=[SECRET])
    with pytest.raises(WebhookRejected) as caught:
        verify(b"", headers, [secret], now=NOW)
    assert caught.value.reason is Rejection.UNUSABLE_SECRET
    assert caught.value.may_be_rotation
    with pytest.raises(WebhookRejected):
        sign(b"", webhook_id="m", at=NOW, secrets=[secret])


def test_nothing_is_signed_without_a_secret_or_under_a_bad_id() -> None:
    with pytest.raises(WebhookRejected):
        sign(b"", webhook_id="m", at=NOW, secrets=[])
    with pytest.raises(WebhookRejected):
        sign(b"", webhook_id="a b", at=NOW, secrets=[SECRET])


# --- why it failed --------------------------------------------------------------------------------------------
def prediction(status: PredictionStatus, **facts: Any) -> Prediction:
    return Prediction(id="p", status=status, raw_status=status.value, **facts)


@pytest.mark.parametrize(
    ("facts", "code", "kind"),
    [
        ({"error": "CUDA out of memory"}, "out_of_memory", FaultKind.USER),
        ({"logs": "torch.OutOfMemoryError: x\nbye"}, "out_of_memory", FaultKind.USER),
        ({"error": "[Errno 28] No space left on device"}, "disk_full", FaultKind.USER),
        ({"error": "Cannot access gated repo"}, "gated_model", FaultKind.USER),
        ({"error": "An error occurred (ExpiredToken)"}, "storage_expired", FaultKind.OURS),
        ({"error": "unrecognized arguments: --x"}, "config_rejected", FaultKind.USER),
        ({"error": "Prediction timed out"}, "provider_timeout", FaultKind.PROVIDER),
        ({"logs": "Prediction timed out"}, "unknown", FaultKind.PROVIDER),
        ({}, "unknown", FaultKind.PROVIDER),
        ({"logs": "ValueError: Non-finite training loss at step 7"}, "loss_diverged", FaultKind.USER),
        ({"error": "FileNotFoundError: Caption file o/p/v-1/a.txt not found."}, "dataset_unreadable", FaultKind.USER),
        ({"error": "ValueError: photos: zero usable batches"}, "dataset_unreadable", FaultKind.USER),
        ({"error": "ValueError: dataset photos produced no usable samples"}, "dataset_unreadable", FaultKind.USER),
        ({"error": "ValueError: No training config found"}, "config_rejected", FaultKind.USER),
    ],
)
def test_a_failed_training_is_classified(facts: dict[str, str], code: str, kind: FaultKind) -> None:
    failure = classify_failure(prediction(PredictionStatus.FAILED, **facts), now=NOW)
    assert failure is not None
    assert (failure.code, failure.kind) == (code, kind)
    assert failure.advice


def test_the_quote_is_short_printable_and_without_secrets() -> None:
    error = f"boom\x1b[31m secret_key={'k' * 40} {'x' * 1000}"
    failure = classify_failure(prediction(PredictionStatus.FAILED, error=error), now=NOW)
    assert failure is not None
    assert "kkkk" not in failure.message
    assert failure.message.isprintable()
    assert len(failure.message) <= MAX_QUOTE + 40


@pytest.mark.parametrize(
    ("error", "quote"),
    [
        ("Prediction failed: Prediction failed: ValueError: no", "Prediction failed: ValueError: no"),
        ("Prediction failed: Prediction failed: Prediction failed: no", "Prediction failed: no"),
        ("Prediction failed: prediction: no", "Prediction failed: prediction: no"),
    ],
)
def test_a_beginning_that_is_said_several_times_is_quoted_once(error: str, quote: str) -> None:
    failure = classify_failure(prediction(PredictionStatus.FAILED, error=error), now=NOW)
    assert failure is not None
    assert failure.message.endswith(f"It said: {quote}")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"deadline": NOW - timedelta(hours=1), "completed_at": NOW}, "cancelled_by_provider_deadline"),
        ({"deadline": NOW + timedelta(hours=1), "completed_at": NOW}, None),
        ({"error": "Deadline exceeded"}, "cancelled_by_provider_deadline"),
        ({"error": "cancelled by user"}, None),
        ({}, None),
    ],
)
def test_a_cancel_at_the_deadline_is_a_failure_and_any_other_is_none(facts: dict[str, Any], code: str | None) -> None:
    failure = classify_failure(prediction(PredictionStatus.CANCELED, **facts), now=NOW)
    assert (failure.code if failure else None) == code


@pytest.mark.parametrize("status", [PredictionStatus.SUCCEEDED, PredictionStatus.PROCESSING, PredictionStatus.UNKNOWN])
def test_what_did_not_fail_has_no_failure(status: PredictionStatus) -> None:
    with pytest.raises(ValueError, match="has no failure"):
        classify_failure(prediction(status), now=NOW)


# --- progress -------------------------------------------------------------------------------------------------
def bar(step: int, total: int = 10, inside: str = "00:10<00:30, 1.0it/s, lr=0.0001, step_loss=0.5") -> str:
    return f"Epoch 1/1 Steps:  1%|#| {step}/{total} [{inside}]\n"


@pytest.mark.parametrize(
    ("inside", "eta"),
    [
        ("00:10<00:30, 1it/s", 30),
        ("00:10<1:02:03, 1it/s", 3723),
        ("00:10<1 day, 1:00:00, 1it/s", 90_000),
        ("00:10<99 days, 1:00:00, 1it/s", 864_000),
        ("00:10<?, 1it/s", None),
        ("00:10", None),
    ],
)
def test_the_estimate_is_the_trainers_own(inside: str, eta: int | None) -> None:
    assert parse_progress(bar(1, inside=inside)).eta_seconds == eta


def test_a_bar_that_makes_no_sense_is_not_believed() -> None:
    assert parse_progress(bar(5) + bar(11) + bar(1, 0)).step == 5


def test_a_loss_that_is_no_number_is_told_and_not_stored() -> None:
    progress = parse_progress(bar(1) + bar(2, inside="00:10<00:30, 1it/s, lr=oops, step_loss=nan"))
    assert (progress.loss, progress.stage, has_diverged(progress)) == (None, DIVERGED, True)
    assert not has_diverged(parse_progress(bar(3), progress))


def test_stages_are_the_trainers_words() -> None:
    assert parse_progress("[STAGE] ⏳ VAE caching (50.0%)\n").stage == "VAE caching (50.0%)"
    assert parse_progress("[TRAINING] Training complete\n[TRAINING] other\n").stage == "Training complete"
    assert parse_progress("[STAGE] !!!\n").stage is None


def test_a_long_chart_is_thinned_and_keeps_its_ends() -> None:
    log = "".join(bar(i, 1000, f"0<0, lr=1, step_loss={i}") for i in range(1000))
    points = loss_points(log, max_points=10)
    assert (len(points), points[0], points[-1]) == (10, (0, 0.0), (999, 999.0))
    with pytest.raises(ValueError, match="two points"):
        loss_points(log, max_points=1)


# --- small ones -----------------------------------------------------------------------------------------------
def test_costs_are_exact_and_unknown_ones_are_no_small_ones() -> None:
    assert cost(120.5, Decimal("0.001525")) == Decimal("0.183763")
    for seconds, price in ((-1.0, Decimal(1)), (float("nan"), Decimal(1)), (1.0, Decimal(-1)), (1.0, Decimal("inf"))):
        with pytest.raises(ValueError, match="not negative"):
            cost(seconds, price)


def test_prices_of_multiples_are_proportional() -> None:
    assert next(iter(REPLICATE_HARDWARE)) == "h100"
    assert REPLICATE_HARDWARE["h100-x8"].price_per_second == 8 * REPLICATE_HARDWARE["h100"].price_per_second
    assert REPLICATE_HARDWARE["h100"].price_per_hour == Decimal("5.49")


@pytest.mark.parametrize("data", [b"\x80\x80", b"\x80\x80\x80\x80\x80", b"\xe3\x81"])
def test_a_slice_that_is_no_utf8_at_all_is_left_or_cut_but_never_loops(data: bytes) -> None:
    assert data.startswith(utf8_slice(data, at_end=False))
    assert utf8_slice(data, at_end=True) == data


def test_a_config_full_of_letters_is_searched_for_secrets_in_no_time() -> None:
    assert list(secret_problems({"x": "a" * 90_000, "y": "a://x:" * 10_000}, "config")) == []


@pytest.mark.parametrize("url", ["https://u:secretpw@h/x", "s3+http://key:secret@h", "see https://u:p@h"])
def test_a_password_in_an_address_is_a_secret(url: str) -> None:
    assert [p.code for p in secret_problems({"x": url}, "config")] == ["secret_in_config"]


# --- compare and set ------------------------------------------------------------------------------------------
@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def test_a_lost_race_is_decided_again_on_the_new_record(world: World) -> None:
    job_id = world.submit().job.job_id
    seen: list[int] = []

    def decide(job: Any) -> Change:
        seen.append(job.version)
        if len(seen) == 1:
            world.jobs.save(job.moved(now=NOW, run_name="theirs"))
        return Change(job.moved(now=NOW, config_name="ours"))

    job = mutate(world.jobs, job_id, decide)
    assert seen == [1, 2]
    assert (job.run_name, job.config_name, job.version) == ("theirs", "ours", 3)


def test_an_endless_race_ends(world: World) -> None:
    job_id = world.submit().job.job_id
    tries: list[int] = []

    def decide(job: Any) -> Change:
        tries.append(1)
        world.jobs.save(job.moved(now=NOW))
        return Change(job.moved(now=NOW))

    with pytest.raises(ContendedError):
        mutate(world.jobs, job_id, decide)
    assert len(tries) == MAX_TRIES


def test_a_job_that_is_gone_is_told(world: World) -> None:
    with pytest.raises(JobGoneError):
        mutate(world.jobs, "nosuch", lambda _: None)
    with pytest.raises(StaleRecordError):
        world.jobs.save(world.submit().job)


def test_facts_of_a_finished_job_may_be_added_and_its_state_may_not_change(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(300)
    job = world.job(job_id)
    later = job.annotated(now=NOW, cost_usd=Decimal(1))
    assert (later.cost_usd, later.version, later.status) == (Decimal(1), job.version + 1, job.status)
    for forbidden in ("status", "phase", "owner", "completed_at"):
        with pytest.raises(IllegalMoveError, match=forbidden):
            job.annotated(now=NOW, **{forbidden: None})
