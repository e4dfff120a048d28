"""What can go wrong with a call of DynamoDB, as exceptions of ours where somebody can do something about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.exceptions import HTTPClientError
from pynamodb.exceptions import PynamoDBException

from chalicelib.errors import Unavailable
from chalicelib.store.records import Record

CONDITION_FAILED = "ConditionalCheckFailed"
COLLISIONS = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})
TEMPORARY = frozenset(
    {
        "ThrottlingError",
        "ThrottlingException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "500",
        "502",
        "503",
        "504",
    }
)


class ConditionFailedError(Exception):
    """The condition of a single write did not hold; nothing was written."""


class TransactionFailedError(Exception):
    """Conditions of a transaction did not hold; nothing was written.

    ``failed`` maps the position of each write that failed to the item that was there, where it asked for it.
    """

    def __init__(self, failed: Mapping[int, Record | None]) -> None:
        super().__init__(f"writes {sorted(failed)}")
        self.failed = dict(failed)


class CollisionError(Exception):
    """Another transaction holds an item of this one; the same again may work."""


def code_of(error: PynamoDBException) -> str:
    """DynamoDB's error code, "" when there was no answer.

    ``error.cause_response_code`` can't be used: botocore's HTTPClientError has a ``response`` that is None, which it
    does not expect (https://github.com/pynamodb/PynamoDB/blob/6.1.0/pynamodb/exceptions.py#L42).
    """
    response = getattr(error.cause, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def unavailable() -> Unavailable:
    return Unavailable("The database can't answer now; try again in a moment.", retry_after=2)


@contextmanager
def translated() -> Iterator[None]:
    """pynamodb's exceptions as ours, where a caller can do something about them."""
    try:
        yield
    except PynamoDBException as error:
        code = code_of(error)
        if code == "ConditionalCheckFailedException":
            raise ConditionFailedError from error
        if code in COLLISIONS:
            raise CollisionError from error
        if code in TEMPORARY or isinstance(error.cause, HTTPClientError | BotoConnectionError):
            raise unavailable() from error
        raise
