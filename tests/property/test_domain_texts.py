"""Properties of everything that reads texts others wrote: logs, error messages, headers of files."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.jobs import Progress
from chalicelib.domain.progress import display_logs, loss_points, parse_progress
from chalicelib.domain.redaction import Masker, redact
from chalicelib.domain.safetensors import SafetensorsError, parse_header

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PIECES = st.sampled_from(
    [
        "Epoch 1/1 Steps:  25%|##5  | 250/1000 [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=0.123]",
        "Steps: 100%|##| 1000/1000 [00:12<00:00, 20.1it/s, step_loss=nan]",
        "Steps: 1%|",
        "| 5/10 [",
        "[STAGE] ⏳ VAE caching (50.0%)",
        "[CHECKPOINT] Checkpoint saved",
        "[TRAINING] Training complete",
        "Downloading:  10%|#  | 1/10 [00:01<00:09, 1.0it/s]",
        "\r",
        "\n",
        "\r\n",
        "\x1b[2K",
        "\x1b",
        " ",
        "plain words",
        "\ud800",
    ]
)
LOGS = st.lists(PIECES | st.text(max_size=12), max_size=30).map("".join)


@settings(derandomize=True, max_examples=300)
@given(LOGS, LOGS)
def test_progress_never_goes_back_and_never_raises(first: str, second: str) -> None:
    one = parse_progress(first)
    two = parse_progress(second, one)
    assert (two.step or 0) >= (one.step or 0)
    assert two.checkpoint_count >= one.checkpoint_count
    for progress in (one, two):
        assert progress.percent is None or 0 <= progress.percent <= 100
        assert progress.loss is None or math.isfinite(progress.loss)
        json.loads(progress.model_dump_json())
        assert Progress.model_validate_json(progress.model_dump_json()) == progress


@settings(derandomize=True, max_examples=300)
@given(LOGS, st.integers(0, 400))
def test_a_window_of_the_log_tells_no_more_than_the_whole(log: str, cut: int) -> None:
    assert (parse_progress(log[:cut]).step or 0) <= (parse_progress(log).step or 0)


@settings(derandomize=True, max_examples=300)
@given(LOGS)
def test_reading_a_log_for_display_twice_changes_nothing_more(log: str) -> None:
    shown = display_logs(log)
    assert display_logs(shown) == shown
    assert "\r" not in shown
    assert "\x1b" not in shown


@settings(derandomize=True, max_examples=200)
@given(LOGS, st.integers(2, 20))
def test_a_chart_has_ascending_steps_and_finite_values(log: str, limit: int) -> None:
    points = loss_points(log, max_points=limit)
    assert len(points) <= limit
    assert [s for s, _ in points] == sorted({s for s, _ in points})
    assert all(math.isfinite(v) for _, v in points)
    every = loss_points(log, max_points=10_000)
    if every:
        assert (points[0], points[-1]) == (every[0], every[-1])


@settings(derandomize=True, max_examples=300)
@given(
    st.lists(st.sampled_from([SECRET, SECRET[:9], "wJal", "token=", "://u:", "@h", " ", "\n", '"', "x"]), max_size=20)
)
def test_no_secret_survives_masking_and_redacting_twice_changes_nothing_more(parts: list[str]) -> None:
    text = "".join(parts)
    masked = Masker([SECRET]).mask(text)
    assert SECRET not in masked
    assert len(masked) == len(text)
    once = redact(text)
    assert redact(once) == once


@settings(derandomize=True, max_examples=200)
@given(st.text(alphabet="ab \n", max_size=60), st.integers(0, 100))
def test_masking_a_growing_log_only_adds_to_it(around: str, cut: int) -> None:
    """So that a log read in snapshots still begins with what was kept of it before."""
    masker = Masker([SECRET])
    text = f"{around}{SECRET}{around}"
    hidden = min(cut, len(text)) - len(around) >= 5 or cut <= len(around)
    if hidden:
        assert masker.mask(text).startswith(masker.mask(text[:cut]))


@settings(derandomize=True, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=200).map(lambda b: len(b).to_bytes(8, "little") + b),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("F32"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "w"]), inner, max_size=4
                )
            ),
            max_leaves=12,
        ).map(lambda v: (h := json.dumps(v).encode()) and len(h).to_bytes(8, "little") + h),
    ),
    st.none() | st.integers(0, 10_000),
)
def test_a_hostile_weights_file_is_refused_and_nothing_else_happens(data: bytes, size: int | None) -> None:
    try:
        header = parse_header(data, file_size=size)
    except SafetensorsError:
        return
    assert header.header_bytes + header.data_bytes + 8 == (len(data) if size is None else size)
    assert header.tensor_count >= 0
