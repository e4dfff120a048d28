"""Turning the parts of a request, which anybody may have written, into models. Every refusal is a 4xx that says why.

JSON is read more strictly than Python does: no NaN or Infinity, no half surrogate pairs, no numbers beyond 64 bits, no
deep nesting. What passes here can be stored, hashed and written as JSON again without surprises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

from chalice.app import Request
from pydantic import BaseModel, RootModel, ValidationError

from chalicelib.api.wording import in_words
from chalicelib.domain.misplaced import holds_credential
from chalicelib.errors import FieldError, NotFound, PayloadTooLarge, ValidationFailed

#: API Gateway hands a Lambda 6 MB at most, with the body escaped inside JSON. The emulator has no such limit.
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 32
#: Path parameters become parts of database keys, which end at 1,024 bytes.
MAX_PARAMETER_BYTES = 512
#: Keys of objects end at S3's limit.
MAX_KEY_BYTES = 1024
MAX_FIELD_CHARS = 200
MAX_LISTED = 50
_INTEGERS = range(-(2**63), 2**64)

M = TypeVar("M", bound=BaseModel)


def read_body(request: Request, *, bounded: bool = True) -> bytes:
    """The body as sent; without ``bounded`` whatever the gateway let through.

    Raises PayloadTooLarge, ValidationFailed (an event whose body can't be decoded).
    """
    try:
        raw = request.raw_body or b""
    except ValueError:
        raise ValidationFailed("The body can't be read: send it as UTF-8.", code="unreadable_body") from None
    data = raw.encode() if isinstance(raw, str) else raw
    if bounded and len(data) > MAX_BODY_BYTES:
        raise PayloadTooLarge(
            f"The body has {len(data)} bytes; {MAX_BODY_BYTES} is the limit. When it is a dataset's list of files: "
            "shorten the files' paths, or split the dataset in two."
        )
    return data


def parse_body(model: type[M], raw: bytes) -> M:
    """The JSON body as ``model``. Raises ValidationFailed; ``invalid_json`` is a 422 too, as SimpleTuner answers."""
    try:
        data = json.loads(raw or b"null", parse_constant=_no_constant, parse_float=_float, parse_int=_int)
        _check_values(data)
    except RecursionError:
        raise ValidationFailed(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json") from None
    except _Unfit as unfit:
        raise ValidationFailed(f"The body is not acceptable JSON: {unfit}.", code="invalid_json") from None
    except ValueError:
        raise ValidationFailed("The body is not valid JSON.", code="invalid_json") from None
    if issubclass(model, RootModel):
        return _validate(model, data, "body")
    if not isinstance(data, dict):
        raise ValidationFailed(
            "The body must be a JSON object.", errors=[FieldError("body", "must be a JSON object", "dict_type")]
        )
    return _validate(model, data, "body")


def parse_query(model: type[M], request: Request) -> M:
    """The query as ``model``; of a name given twice the last one counts. Raises ValidationFailed."""
    query = request.query_params
    return _validate(model, dict(query) if query else {}, "query")


def parse_path(parameters: Mapping[str, str]) -> dict[str, str]:
    """Path parameters, decoded: they arrive URL-encoded (https://github.com/aws/chalice/issues/511).

    Raises NotFound for one that can't be the name of anything; what may be a secret is not repeated.
    """
    decoded = {name: unquote(value) for name, value in parameters.items()}
    room = {"key": MAX_KEY_BYTES}
    if any(not v or len(v.encode()) > room.get(name, MAX_PARAMETER_BYTES) for name, v in decoded.items()):
        raise NotFound("Nothing has this address: a name in it is too long.")
    if any(holds_credential(value) for value in decoded.values()):
        raise NotFound(
            "A key or token stands in this address where an id belongs. Addresses are kept in histories and logs: "
            "revoke it if others may read those.",
            code="credential_in_path",
        )
    return decoded


class _Unfit(ValueError):
    """JSON that Python reads but nobody else should have to. The message repeats nothing of it."""


def _no_constant(_: str) -> NoReturn:
    raise _Unfit("NaN and Infinity are no JSON numbers")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Unfit("a number is too large")
    return number


def _int(text: str) -> int:
    if len(text) > 21 or (number := int(text)) not in _INTEGERS:
        raise _Unfit("a number does not fit into 64 bits")
    return number


def _check_values(root: Any) -> None:
    stack: list[tuple[Any, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, str):
            _check_text(node)
            continue
        if not isinstance(node, dict | list):
            continue
        if depth > MAX_DEPTH:
            raise _Unfit(f"a value is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, dict):
            for key in node:
                _check_text(key)
            node = list(node.values())
        stack.extend((child, depth + 1) for child in node)


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Unfit("a text holds half a surrogate pair") from None


def _validate(model: type[M], data: Any, where: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        errors = [
            FieldError((".".join(str(part) for part in e["loc"]) or where)[:MAX_FIELD_CHARS], in_words(e), e["type"])
            for e in invalid.errors(include_url=False, include_input=False)
        ]
        first = errors[0]
        raise ValidationFailed(f"{first.field}: {first.message}", errors=errors[:MAX_LISTED]) from None
