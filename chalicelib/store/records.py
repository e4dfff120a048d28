"""The items of the jobs table: their keys, attributes and indexes.

What is stored is one JSON document beside the attributes that keys, conditions, filters and TTL need. Reading ignores
attributes and document fields it does not know, so a newer release may add some and be rolled back.

    pk                             sk                     what
    ─────────────────────────────  ─────────────────────  ─────────────────────────────────────────────────────
    job#<job>                      record                 the job; the only item in the indexes
    job#<job>                      input                  what was submitted
    job#<job>                      event#<seq>            one line of its timeline
    deleted                        <job>                  a deleted job of which something may still be there
    idempotency#<owner>#<hash>     idempotency            what an idempotency key stands for
    owner#<owner>                  slots                  ids of the jobs that hold a slot, months with jobs
    everybody                      months                 months with jobs of anybody
    datasets#<owner>               <dataset>              a dataset
    source#<owner>#<hash>          <dataset>              the same, found by the path it was pushed from
    versions#<owner>#<dataset>     id#<version>           a dataset version
    versions#<owner>#<dataset>     at#<time>#<version>    the same, in order of creation
    unfinished                     <time>#<hash>          a dataset version that is not ready, in order of creation
    inspecting                     <time>#<hash>          a dataset version whose inspection is not over, oldest first
    archives#<owner>#<dataset>     <archive>              an archive that was uploaded to be unpacked
    unsettled-archives             <time>#<hash>          the same while it is not settled, in order of creation
    deliveries#<job>               <delivery>             a delivery of a job's model
    open-deliveries                <delivery>             the same while it is not settled, by job
    retention                      <time>#<hash>          a dataset whose old versions end, by when to look for such
    escrow-retention               <time>#<job>           a job whose model may have to leave escrow, by when
    usage#<owner>                  datasets               what the owner's dataset versions take of the quota
    configs#<owner>                <name>                 the latest version of a config
    config#<owner>#<name>          v#<version>            one version of a config
    credentials#<owner>            <name>                 a named credential, without its secret
    credentials#<owner>            #count                 how many there are
    channels#<owner>               <channel>              a channel of notifications
    channels#<owner>               #count                 how many there are
    mail-address#<hash>            channel                the channel that has this e-mail address
    outbox                         <time>#<job>-<seq>     an event that is to be told of, until its messages are there
    messages#<owner>               <message>              an event on its way to a channel, and every try
    due-messages                   <time>#<message>       the same while it is pending, by when it is tried next
    webhook#<provider>#<hash>      webhook                a webhook id that was seen
    budget#<id>                    budget                 what the jobs of an API key with a budget cost or may cost

``access``, ``audit`` and ``rates`` describe the items of the other tables.

Owners may hold any character: whatever follows them in a key has a fixed shape without ``#``, so keys can't collide.
Every partition is bounded: by a job, a month, the slots, what one owner names by hand, or by what is being uploaded and
deleted at the time.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model

from chalicelib.domain.jobs import Job

#: Seconds. The slowest call takes three times both and the SDK's pauses, 24 in all: API Gateway gives up at 29.
CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5
RETRIES = 2
POOL_CONNECTIONS = 16

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# The ignores: pynamodb's Index.__init_subclass__ has no annotations.
class ActiveIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Jobs that are not over. One partition: it holds no more jobs than there are slots."""

    class Meta:
        index_name = "active-index"
        projection = AllProjection()

    active_pk = UnicodeAttribute(hash_key=True)
    active_sk = UnicodeAttribute(range_key=True)


class OwnerIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Jobs of one owner and month, by time of creation."""

    class Meta:
        index_name = "owner-index"
        projection = AllProjection()

    owner_pk = UnicodeAttribute(hash_key=True)
    owner_sk = UnicodeAttribute(range_key=True)


class MonthIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Jobs of everybody and one month, by time of creation."""

    class Meta:
        index_name = "month-index"
        projection = AllProjection()

    month_pk = UnicodeAttribute(hash_key=True)
    month_sk = UnicodeAttribute(range_key=True)


class PredictionIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """The job of a provider's prediction."""

    class Meta:
        index_name = "prediction-index"
        projection = AllProjection()

    prediction_pk = UnicodeAttribute(hash_key=True)


class Record(Model):
    """Any item. ``write_id`` tells a conditional write whose answer was lost from somebody else's; ``valid_until`` and
    ``last_used`` are in microseconds since 1970, exact, ``expires_at`` in seconds, rounded up, for TTL alone; ``used``
    counts: microdollars of a budget, requests, or bytes, of which ``parts`` things there are."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    document = UnicodeAttribute(null=True)
    write_id = UnicodeAttribute(null=True)
    version = NumberAttribute(null=True)
    status = UnicodeAttribute(null=True)
    provider = UnicodeAttribute(null=True)
    job_type = UnicodeAttribute(null=True)
    job_id = UnicodeAttribute(null=True)
    source = UnicodeAttribute(null=True)
    valid_until = NumberAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    used = NumberAttribute(null=True)
    parts = NumberAttribute(null=True)
    user_id = UnicodeAttribute(null=True)
    last_used = NumberAttribute(null=True)
    holders = UnicodeSetAttribute(null=True)
    months = UnicodeSetAttribute(null=True)
    active_pk = UnicodeAttribute(null=True)
    active_sk = UnicodeAttribute(null=True)
    owner_pk = UnicodeAttribute(null=True)
    owner_sk = UnicodeAttribute(null=True)
    month_pk = UnicodeAttribute(null=True)
    month_sk = UnicodeAttribute(null=True)
    prediction_pk = UnicodeAttribute(null=True)

    active_index = ActiveIndex()
    owner_index = OwnerIndex()
    month_index = MonthIndex()
    prediction_index = PredictionIndex()


@lru_cache(maxsize=64)
def record_model(name: str) -> type[Record]:
    """The model of the table ``name``; its connection is shared by everything that asks for the same table.

    Region, endpoint and credentials come from the AWS SDK's environment at first use.
    """

    class TableRecord(Record):
        class Meta:
            table_name = name
            connect_timeout_seconds = CONNECT_TIMEOUT
            read_timeout_seconds = READ_TIMEOUT
            max_retry_attempts = RETRIES
            max_pool_connections = POOL_CONNECTIONS

    return TableRecord


def digest(text: str) -> str:
    """SHA-256, hex: for what may be too long for a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def stamp(moment: datetime) -> str:
    """UTC in fixed width, so that text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(micros: int) -> datetime:
    """The reverse of ``microseconds``."""
    return _EPOCH + timedelta(microseconds=micros)


def microdollars(usd: Decimal) -> int:
    """Rounded up: what is held or spent is never counted short."""
    return int((usd * 1_000_000).to_integral_value(ROUND_CEILING))


def month_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m")


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def ttl_seconds(moment: datetime) -> int:
    return -(-microseconds(moment) // 1_000_000)


ACTIVE = "active"


def job_pk(job_id: str) -> str:
    return f"job#{job_id}"


def event_sk(seq: int) -> str:
    return f"event#{seq:010d}"


def idempotency_pk(owner: str, key_hash: str) -> str:
    return f"idempotency#{owner}#{key_hash}"


def budget_pk(budget_id: str) -> str:
    return f"budget#{budget_id}"


def versions_pk(owner: str, dataset_id: str) -> str:
    return f"versions#{owner}#{dataset_id}"


def version_sk(version_id: str) -> str:
    return f"id#{version_id}"


def owner_pk(owner: str) -> str:
    return f"owner#{owner}"


def owner_month(owner: str, month: str) -> str:
    return f"owner#{owner}#{month}"


def everybody_month(month: str) -> str:
    return f"month#{month}"


def prediction_pk(provider: str, prediction_id: str) -> str:
    return f"{provider}#{prediction_id}"


def job_attributes(job: Job) -> dict[str, Any]:
    """Everything but ``pk`` and ``sk`` of a job's record. A job that is over leaves the active index."""
    month, sort = month_of(job.created_at), f"{stamp(job.created_at)}#{job.job_id}"
    attributes: dict[str, Any] = {
        "document": job.model_dump_json(),
        "version": job.version,
        "status": job.status.value,
        "provider": job.provider,
        "job_type": job.job_type.value,
        "owner_pk": owner_month(job.owner, month),
        "owner_sk": sort,
        "month_pk": everybody_month(month),
        "month_sk": sort,
    }
    if job.is_active:
        attributes |= {"active_pk": ACTIVE, "active_sk": sort}
    if job.prediction_id is not None:
        attributes["prediction_pk"] = prediction_pk(job.provider, job.prediction_id)
    return attributes
