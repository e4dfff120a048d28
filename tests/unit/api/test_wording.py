"""What a wrong field is told."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from chalicelib.api.routing import ENDPOINTS
from chalicelib.api.wording import in_words
from chalicelib.domain.permissions import Role
from tests.unit.api.client import ApiClient


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=5)] = 1
    ratio: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    name: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z]+$")] = "a"
    names: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    role: Role = Role.VIEWER
    kind: Literal["one", "two"] = "one"
    yes: bool = True
    money: Annotated[Decimal, Field(decimal_places=2)] = Decimal(1)
    at: AwareDatetime | None = None
    when: datetime | None = None
    own: str = ""

    @field_validator("own")
    @classmethod
    def _own(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("is not what it should be")
        return value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", "abc", "must be a whole number"),
        ("count", 1.5, "must be a whole number"),
        ("count", 0, "must be 1 or more"),
        ("count", 6, "must be 5 or less"),
        ("ratio", "x", "must be a number"),
        ("ratio", 0, "must be greater than 0.0"),
        ("ratio", 1, "must be less than 1.0"),
        ("name", "", "must have 1 character at least"),
        ("name", "abcd", "may have 3 characters at most"),
        ("name", "A", "must fit the pattern ^[a-z]+$"),
        ("name", 4, "must be a text"),
        ("names", [], "must have 1 entry at least"),
        ("names", ["a", "b", "c"], "may have 2 entries at most"),
        ("names", "a", "must be a list"),
        ("role", "king", "must be one of: 'admin', 'lead', 'researcher' or 'viewer'"),
        ("kind", "three", "must be: 'one' or 'two'"),
        ("yes", "perhaps", "must be true or false"),
        ("money", "1.234", "may have 2 decimal places at most"),
        ("at", "2026-01-31T12:00:00", "must name its time zone, like 2026-01-31T12:00:00Z"),
        ("when", "soon", "must be a time like 2026-01-31T12:00:00Z"),
        ("own", "bad", "is not what it should be"),
        ("strange", 1, "is not known here; leave it out, or look for a typing error"),
    ],
)
def test_words(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate({field: value})
    assert [in_words(e) for e in caught.value.errors()] == [message]


def test_no_answer_speaks_of_python(api: ApiClient) -> None:
    """Every route with a body, given one of wrong types."""
    phrases = ("Value error", "Input should", "Field required", "unable to parse")
    for endpoint in ENDPOINTS:
        if endpoint.body is None:
            continue
        wrong = {name: {"x": [1]} for name in endpoint.body.model_fields}
        path = "/api" + endpoint.path.replace("{", "").replace("}", "")
        answer = api.request(endpoint.method, path, wrong).body.decode()
        assert not [p for p in phrases if p in answer], answer
