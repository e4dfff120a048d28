"""Shared bases of request and response models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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

    ``error``, ``message`` and ``details`` repeat code, detail and facts where SimpleTuner's clients read those.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:problem-type:simpletuner-cloud:job_not_found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "Job not found: 4mq1",
                    "code": "job_not_found",
                    "request_id": "0f5d2c1e",
                    "errors": [],
                    "error": "job_not_found",
                    "message": "Job not found: 4mq1",
                    "details": {"job_id": "4mq1"},
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened and what to do about it, for people.")
    code: str = Field(description="Stable, for programs.")
    request_id: str = Field(description="Finds this request in the log.")
    errors: list[FieldProblem] = []
    error: str
    message: str


class SubmitProblem(Problem):
    """A refused submit: a problem that also says ``success: false``, SimpleTuner's way of saying the same.

    ``error`` is the ``detail`` here. ``job_id`` names the job that stands in the way, if there is one.
    """

    model_config = ConfigDict(json_schema_extra={"examples": []})

    success: Literal[False]
    job_id: str | None
    data_uploaded: Literal[False]
    upload_id: None
    cost_limit_warning: None
    quota_warnings: list[str]
    idempotent_hit: Literal[False]
