"""What a failed AWS call means."""

from __future__ import annotations

import pytest

from chalicelib.aws.faults import answering
from chalicelib.errors import Unavailable
from tests.unit.aws.aws_doubles import client_error, refused, timed_out


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("SlowDown", 503),
        client_error("Anything", 500),
        client_error("Anything", 429),
        timed_out(),
        refused(),
    ],
)
def test_busy_and_silent_are_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable, match="Storage does not answer") as caught, answering("Storage"):
        raise error
    assert caught.value.retry_after == 5
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [client_error("AccessDenied", 403), client_error("NoSuchBucket", 404), KeyError("x")])
def test_our_own_mistakes_go_up_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, answering("Storage"):
        raise error
    assert caught.value is error
