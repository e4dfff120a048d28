"""The tables as the infrastructure template defines them, for tests that make some of their own."""

from __future__ import annotations

from typing import Any

TTL_ATTRIBUTE = "expires_at"
#: Index name → its HASH and RANGE attributes; all project everything.
JOBS_INDEXES: dict[str, tuple[str, ...]] = {
    "active-index": ("active_pk", "active_sk"),
    "owner-index": ("owner_pk", "owner_sk"),
    "month-index": ("month_pk", "month_sk"),
    "prediction-index": ("prediction_pk",),
}


def _key_schema(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]


def jobs_table(name: str) -> dict[str, Any]:
    """The arguments of CreateTable."""
    names = ["pk", "sk", *(name for names in JOBS_INDEXES.values() for name in names)]
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in names],
        "KeySchema": _key_schema(("pk", "sk")),
        "GlobalSecondaryIndexes": [
            {"IndexName": index, "KeySchema": _key_schema(keys), "Projection": {"ProjectionType": "ALL"}}
            for index, keys in JOBS_INDEXES.items()
        ],
    }


def plain_table(name: str) -> dict[str, Any]:
    """The arguments of CreateTable for the keys and the audit table."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
        "KeySchema": _key_schema(("pk", "sk")),
    }


def create_jobs_table(client: Any, name: str) -> None:
    """Creates the table and waits until it can be used. ``client`` is boto3's for DynamoDB."""
    _create(client, jobs_table(name), ttl=True)


def create_keys_table(client: Any, name: str) -> None:
    _create(client, plain_table(name), ttl=True)


def create_audit_table(client: Any, name: str) -> None:
    """Nothing in it expires."""
    _create(client, plain_table(name), ttl=False)


def _create(client: Any, table: dict[str, Any], *, ttl: bool) -> None:
    name = table["TableName"]
    client.create_table(**table)
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    if ttl:
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        )
