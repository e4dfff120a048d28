"""What a failed AWS call means to the product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from chalicelib.errors import Unavailable

_BUSY = frozenset(
    {
        "ExecutionLimitExceeded",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def code_of(error: ClientError) -> str:
    """AWS's error code; a HEAD, which has no body, gives the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_busy(error: ClientError) -> bool:
    """True when the same call may work a little later: throttled, or AWS's own fault."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in _BUSY or status == 429 or status >= 500


@contextmanager
def answering(service: str) -> Iterator[None]:
    """Around AWS calls whose own retries are used up: busy or silent becomes Unavailable, the rest goes up as it is.

    Missing permissions, buckets or machines are mistakes of the deployment: no retry helps, and the log must show them.
    """
    try:
        yield
    except ClientError as error:
        if not is_busy(error):
            raise
        raise _unavailable(service) from error
    except (HTTPClientError, BotoConnectionError) as error:
        raise _unavailable(service) from error


def _unavailable(service: str) -> Unavailable:
    return Unavailable(f"{service} does not answer now. Try again in a few seconds.", retry_after=5)
