"""An error as it is answered: the API's own JSON, or problem details (RFC 9457) for who asks for them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from service.core.field_code import FieldCode

PROBLEM_JSON: Final = "application/problem+json"
JSON: Final = "application/json"


class Code(StrEnum):
    """Machine-readable error codes."""

    INVALID_API_KEY = "INVALID_API_KEY"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    CONFLICT = "CONFLICT"
    ENDPOINT_GATED = "ENDPOINT_GATED"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


TITLES: Final[Mapping[Code, str]] = {
    Code.INVALID_API_KEY: "The API key is missing, not valid, expired or revoked",
    Code.PERMISSION_DENIED: "The API key may not do this",
    Code.NOT_FOUND: "It does not exist, or belongs to another organization",
    Code.METHOD_NOT_ALLOWED: "The path does not have this method",
    Code.UNSUPPORTED_MEDIA_TYPE: "The Content-Type or Content-Encoding is not supported",
    Code.REQUEST_TIMEOUT: "The request did not arrive in time",
    Code.VALIDATION_ERROR: "The request is not valid",
    Code.CONFLICT: "The request conflicts with what there is",
    Code.ENDPOINT_GATED: "The endpoint is paused, disabled or waiting",
    Code.PRECONDITION_FAILED: "If-Match names another version than there is now",
    Code.IDEMPOTENCY_KEY_REUSED: "The Idempotency-Key belongs to a different request",
    Code.PAYLOAD_TOO_LARGE: "The body is too large",
    Code.RATE_LIMIT_EXCEEDED: "Too many requests",
    Code.UNAVAILABLE: "The service cannot answer now",
    Code.INTERNAL_ERROR: "Something went wrong on our side",
}
"""What each code means; the same for every error that has it."""

FIELD_TITLES: Final[Mapping[FieldCode, str]] = {
    FieldCode.REQUIRED: "The field is missing",
    FieldCode.UNKNOWN_FIELD: "There is no field or parameter of this name",
    FieldCode.UNKNOWN_VALUE: "The value is not one of those that there are",
    FieldCode.WRONG_TYPE: "The value has another type",
    FieldCode.WRONG_FORM: "The text is not in the form that is needed",
    FieldCode.OUT_OF_RANGE: "The value is too small, too large, too short or too long",
    FieldCode.REPEATED: "The field, or what must be unique, is given more than once",
    FieldCode.NOT_ALLOWED: "The value is valid, but not allowed here, to you or beside the others",
    FieldCode.INVALID: "The value is refused for another reason, which the sentence gives",
}
"""What each field's code means."""


class Problem(BaseModel):
    """An error response. `errors` lists what is wrong with each field."""

    success: Literal[False] = False
    error: str
    code: Code
    statusCode: int  # noqa: N815 - the name on the wire
    doc_url: str | None = Field(
        default=None, description="Where the code is explained; left out if the request could not be read at all."
    )
    errors: dict[str, list[str]] | None = None
    codes: dict[str, FieldCode] | None = Field(default=None, description="Why each field is refused, for programs.")


class ProblemDetails(BaseModel):
    """The same as `application/problem+json` (RFC 9457), for callers who ask for it in Accept."""

    type: str = Field(default="about:blank", description="Where the code is explained.")
    title: str
    status: int
    detail: str
    code: Code
    errors: dict[str, list[str]] | None = None
    codes: dict[str, FieldCode] | None = Field(default=None, description="Why each field is refused, for programs.")


def code_anchor(code: str) -> str:
    """Where ``/docs`` explains a ``Code`` or a ``FieldCode``."""
    return f"error-{code.lower().replace('_', '-')}"


def details_of(problem: Problem) -> ProblemDetails:
    """The problem as RFC 9457 has it."""
    return ProblemDetails(
        type=problem.doc_url or "about:blank",
        title=TITLES[problem.code],
        status=problem.statusCode,
        detail=problem.error,
        code=problem.code,
        errors=problem.errors,
        codes=problem.codes,
    )


def wants_details(request: web.Request) -> bool:
    """Whether Accept names ``application/problem+json``, and does not rank it below ``application/json``."""
    ranks: dict[str, float] = {}
    for part in ",".join(request.headers.getall("Accept", [])).lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        ranks[name] = float(quality) if quality.replace(".", "", 1).isdecimal() and quality.isascii() else 0.0
    rank = ranks.get(PROBLEM_JSON, 0.0)
    return rank > 0 and rank >= ranks.get(JSON, 0.0)
