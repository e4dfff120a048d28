"""Shared bases of request and response models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestModel(BaseModel):
    """A body or query. Unknown fields are ignored, as SimpleTuner's server does, so that its clients keep working."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)


class StrictRequest(BaseModel):
    """A body of our own resources: an unknown field is a typing error and is refused."""

    model_config = ConfigDict(extra="forbid")


class ResponseModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FieldProblem(ResponseModel):
    field: str
    message: str
    code: str


class Problem(ResponseModel):
    """RFC 9457 problem document with SimpleTuner's ``detail``; ``errors`` names the fields to mend.

    A refused submit also carries ``success`` and ``error``, SimpleTuner's way of saying the same. ``error``,
    ``message`` and ``details`` repeat code, detail and facts where SimpleTuner's clients read those.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldProblem] = []
