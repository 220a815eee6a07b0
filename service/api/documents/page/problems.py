"""What each error code means and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from service.api.documents.page.references import Document, example_of, json_content, operations_of, resolved

FIRST_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code; ``status`` is the one that it comes with, and None where the page does not know the code yet."""

    name: str
    status: int | None
    meaning: str
    sentence: str

    @property
    def anchor(self) -> str:
        """Where the page describes it; ``doc_url`` leads there."""
        return f"error-{self.name.lower().replace('_', '-')}"


_KNOWN: Final = {
    each.name: each
    for each in (
        ErrorCode(
            "VALIDATION_ERROR",
            400,
            "A field, a parameter or the body is not valid. `errors` names every such field; nothing was changed.",
            "the request is not valid",
        ),
        ErrorCode(
            "INVALID_API_KEY",
            401,
            "The key is missing, wrong, expired or revoked. Send it as `Authorization: Bearer …`.",
            "this API key is unknown or was revoked",
        ),
        ErrorCode(
            "PERMISSION_DENIED",
            403,
            "The key is valid, but lacks the scope that the operation names. Ask whoever made it for another.",
            "this API key lacks the scope 'write'",
        ),
        ErrorCode(
            "NOT_FOUND",
            404,
            "It does not exist, or it belongs to another organization: the answer is the same for both.",
            "not found",
        ),
        ErrorCode(
            "METHOD_NOT_ALLOWED",
            405,
            "The path exists, the method does not. `Allow` lists those that do.",
            "method not allowed for this path",
        ),
        ErrorCode(
            "REQUEST_TIMEOUT",
            408,
            "The body did not arrive in time. Send the request again.",
            "the body did not arrive in time",
        ),
        ErrorCode(
            "CONFLICT",
            409,
            "The request conflicts with the current state, or the same request is still running; the sentence says "
            "which. With `Retry-After`, wait and repeat; otherwise read the state first.",
            "the delivery is not final yet",
        ),
        ErrorCode(
            "ENDPOINT_GATED",
            409,
            "The endpoint is paused, disabled or left alone for a while, so a test is not sent. The sentence says "
            "until when; `POST /v1/endpoints/{id}/resume` ends a pause.",
            "the endpoint is paused since 2026-11-21T14:02:00Z",
        ),
        ErrorCode(
            "PRECONDITION_FAILED",
            412,
            "`If-Match` names another version than the current one. Read it again, then change that.",
            "it was changed in the meantime",
        ),
        ErrorCode(
            "PAYLOAD_TOO_LARGE",
            413,
            "The body is larger than the operation takes. Publish fewer or smaller events in one request.",
            "the request body is too large",
        ),
        ErrorCode(
            "UNSUPPORTED_MEDIA_TYPE",
            415,
            "The operation does not take this `Content-Type`. Send `application/json`, unless it says otherwise.",
            "send application/json",
        ),
        ErrorCode(
            "IDEMPOTENCY_KEY_REUSED",
            422,
            "The `Idempotency-Key` was used with another request in the last 24 hours. Choose a new one.",
            "this Idempotency-Key was used with a different request",
        ),
        ErrorCode(
            "RATE_LIMIT_EXCEEDED",
            429,
            "Too many requests. Wait for as many seconds as `Retry-After` says.",
            "too many requests; try again in 31 seconds",
        ),
        ErrorCode(
            "INTERNAL_ERROR",
            500,
            "Our fault. Repeat the request with the same `Idempotency-Key`; quote the `X-Request-ID` if it stays.",
            "something went wrong on our side",
        ),
        ErrorCode(
            "UNAVAILABLE",
            503,
            "The service cannot reach its database now. Nothing was changed; repeat it after `Retry-After` seconds.",
            "the service cannot reach its database now; try again",
        ),
    )
}


def error_codes(openapi: Document) -> Sequence[ErrorCode]:
    """Every code that the document lists, by status; one that has no text here yet is listed all the same."""
    names = _listed(openapi)
    codes = [_KNOWN.get(name) or ErrorCode(name, None, "The error's sentence says what to do.", "") for name in names]
    return sorted(codes, key=lambda code: (code.status or HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED, code.name))


def _listed(openapi: Document) -> Sequence[str]:
    for _, _, operation in operations_of(openapi):
        for status, answer in operation["responses"].items():
            if is_error(status):
                schema = resolved(json_content(resolved(answer, openapi)).get("schema", {}), openapi)
                code = resolved(schema.get("properties", {}).get("code", {}), openapi)
                if "enum" in code:
                    names: Sequence[str] = code["enum"]
                    return names
    return ()


def anchor_of(status: str) -> str:
    """Where the page describes what this status mostly means."""
    known = next((each.anchor for each in _KNOWN.values() if str(each.status) == status), None)
    return known or "errors"


def is_error(status: str) -> bool:
    """Whether an answer under this key of ``responses`` is an error."""
    return status.isdecimal() and int(status) >= FIRST_ERROR


def example_error(status: str, answer: Document, openapi: Document) -> object:
    """The document's own example of this error, else the usual one of its status; None if there is none."""
    found = example_of(json_content(answer), openapi)
    if found is not None:
        return found
    code = next((each for each in _KNOWN.values() if str(each.status) == status), None)
    if code is None:
        return None
    body: Mapping[str, object] = {
        "success": False,
        "error": code.sentence,
        "code": code.name,
        "statusCode": code.status,
    }
    return body
