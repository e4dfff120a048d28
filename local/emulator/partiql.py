"""PartiQL under IAM as on AWS: what a statement does decides which right it needs, on which table.

ministack 1.5.33 (https://github.com/ministackorg/ministack) asks for ``dynamodb:ExecuteStatement`` on ``*``, an action
that IAM does not have, so no role could be allowed to insert and nothing more. AWS asks for ``dynamodb:PartiQLInsert``,
``PartiQLUpdate``, ``PartiQLDelete`` or ``PartiQLSelect`` on the table
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html). Nor does it fill in
``dynamodb:LeadingKeys``; here statements have it, other requests do not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from local.emulator.pins import require_source

#: Where each operation has its statements.
_LISTS = {
    "dynamodb:ExecuteStatement": None,
    "dynamodb:BatchExecuteStatement": "Statements",
    "dynamodb:ExecuteTransaction": "TransactStatements",
}
_ACTIONS = {"INSERT": "PartiQLInsert", "UPDATE": "PartiQLUpdate", "DELETE": "PartiQLDelete"}

#: Gives a parsed statement. Raises ValueError for one that is none, and that will not be run.
Parse = Callable[[str, list[Any]], Mapping[str, Any]]
Checks = list[tuple[str, str]]


def patch_partiql() -> None:
    """Raises PatchError when ministack's source is not the one we know."""
    actions: Any = import_module("ministack.core.iam_actions")
    app: Any = import_module("ministack.app")
    dynamodb: Any = import_module("ministack.services.dynamodb")
    require_source(
        app._dispatch_service_request,
        "dynamodb_transaction_checks(iam_action, body, region, get_account_id())",
        "for item_action, item_arn in transaction_checks:",
        'dynamodb_service_context(body) if service == "dynamodb"',
    )
    require_source(actions.dynamodb_transaction_checks, "list[tuple[str, str]]", "return checks")
    require_source(actions.dynamodb_service_context, 'context["dynamodb:Select"] = select', "return context")
    require_source(
        dynamodb._execute_statement, "_parse_partiql(statement, parameters)", '"INSERT"', '"UPDATE"', '"DELETE"'
    )
    require_source(dynamodb._partiql_insert, 'set(item) == {"M"}', "DuplicateItemException")
    require_source(dynamodb._partiql_key_target, 'parsed.get("conditions")')

    transactions, context = actions.dynamodb_transaction_checks, actions.dynamodb_service_context

    def key_name(table: str) -> str | None:
        found = dynamodb._tables.get(table)
        return found["pk_name"] if found else None

    def checks(iam_action: str, body: bytes, region: str, account_id: str) -> Checks:
        if iam_action not in _LISTS:
            found: Checks = transactions(iam_action, body, region, account_id)
            return found
        return [
            (action, actions._dynamodb_table_arn(resource, region, account_id))
            for action, resource in statement_checks(iam_action, body, dynamodb._parse_partiql)
        ]

    def with_keys(body: bytes) -> dict[str, Any]:
        found: dict[str, Any] = context(body)
        keys = leading_keys(body, dynamodb._parse_partiql, key_name)
        return found | ({"dynamodb:LeadingKeys": keys} if keys else {})

    actions.dynamodb_transaction_checks = checks
    actions.dynamodb_service_context = with_keys


def statement_checks(iam_action: str, body: bytes, parse: Parse) -> Checks:
    """(IAM action, ``table`` or ``table/index/name``) of each statement of the request. A statement that can't be read
    is not run and needs no right; a request of nothing else has no checks and stays what ministack makes of it: denied
    to everybody who is not its root."""
    found = []
    for parsed in _parsed(_statements(iam_action, _document(body)), parse):
        inner: Mapping[str, Any] = parsed["select"] if parsed["op"] == "EXISTS" else parsed
        table, index = inner["table"], inner.get("index")
        action = _ACTIONS.get(parsed["op"], "PartiQLSelect")
        found.append((f"dynamodb:{action}", f"{table}/index/{index}" if index else table))
    return found


def leading_keys(body: bytes, parse: Parse, key_name: Callable[[str], str | None]) -> list[str]:
    """The partition keys that the request's statements name."""
    document = _document(body)
    keys = []
    for operation in _LISTS:
        for parsed in _parsed(_statements(operation, document), parse):
            name = key_name(parsed["table"]) if "table" in parsed else None
            if parsed["op"] == "INSERT":
                item = parsed.get("item") or {}
                keys.append((item.get("M") or item).get(name))
            else:
                keys += [
                    value
                    for attribute, sign, value in parsed.get("conditions") or []
                    if (attribute, sign) == (name, "=")
                ]
    return [str(value) for key in keys if isinstance(key, dict) for value in key.values()]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except (ValueError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}


def _statements(iam_action: str, document: dict[str, Any]) -> list[Any]:
    name = _LISTS[iam_action]
    found = [document] if name is None and "Statement" in document else document.get(name or "")
    return found if isinstance(found, list) else []


def _parsed(statements: list[Any], parse: Parse) -> Iterator[Mapping[str, Any]]:
    for statement in statements:
        if not isinstance(statement, dict):
            continue
        try:
            yield parse(statement.get("Statement", ""), statement.get("Parameters", []))
        except ValueError:
            continue
