"""What each error code means and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from service.api.documents.page.references import Document, json_content, operations_of, resolved
from service.api.problem import FIELD_TITLES, code_anchor


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code; ``status`` is the one that it comes with, and None where the page does not know the code yet."""

    name: str
    status: int | None
    meaning: str

    @property
    def anchor(self) -> str:
        """Where the page describes it; ``doc_url`` leads there."""
        return code_anchor(self.name)


_KNOWN: Final = {
    each.name: each
    for each in (
        ErrorCode(
            "VALIDATION_ERROR",
            400,
            "A field, a parameter or the body is not valid. `errors` names every such field; nothing was changed.",
        ),
        ErrorCode(
            "INVALID_API_KEY",
            401,
            "The key is missing, wrong, expired or revoked. Send it as `Authorization: Bearer …`.",
        ),
        ErrorCode(
            "PERMISSION_DENIED",
            403,
            "The key is valid, but lacks the scope that the operation names. Ask whoever made it for another.",
        ),
        ErrorCode(
            "NOT_FOUND",
            404,
            "It does not exist, or it belongs to another organization: the answer is the same for both.",
        ),
        ErrorCode(
            "METHOD_NOT_ALLOWED",
            405,
            "The path exists, the method does not. `Allow` lists those that do.",
        ),
        ErrorCode(
            "REQUEST_TIMEOUT",
            408,
            "The body did not arrive in time. Send the request again.",
        ),
        ErrorCode(
            "CONFLICT",
            409,
            "The request conflicts with the current state, or the same request is still running; the sentence says "
            "which. With `Retry-After`, wait and repeat; otherwise read the state first.",
        ),
        ErrorCode(
            "ENDPOINT_GATED",
            409,
            "The endpoint is paused, disabled or left alone for a while, so a test is not sent. The sentence says "
            "until when; `POST /v1/endpoints/{id}/resume` ends a pause.",
        ),
        ErrorCode(
            "PRECONDITION_FAILED",
            412,
            "It was changed since you read it: `If-Match` names an older version. Read it again, and decide anew.",
        ),
        ErrorCode(
            "PAYLOAD_TOO_LARGE",
            413,
            "The body is larger than the operation takes. Publish fewer or smaller events in one request.",
        ),
        ErrorCode(
            "UNSUPPORTED_MEDIA_TYPE",
            415,
            "The operation does not take this `Content-Type`. Send `application/json`, unless it says otherwise.",
        ),
        ErrorCode(
            "IDEMPOTENCY_KEY_REUSED",
            422,
            "The `Idempotency-Key` was used with another request in the last 24 hours. Choose a new one.",
        ),
        ErrorCode(
            "RATE_LIMIT_EXCEEDED",
            429,
            "Too many requests. Wait for as many seconds as `Retry-After` says.",
        ),
        ErrorCode(
            "INTERNAL_ERROR",
            500,
            "Our fault. Repeat the request with the same `Idempotency-Key`; quote the `X-Request-ID` if it stays.",
        ),
        ErrorCode(
            "UNAVAILABLE",
            503,
            "The service cannot reach its database now, or lacks a key. Nothing was changed; repeat it after "
            "`Retry-After` seconds.",
        ),
    )
}


def field_codes() -> Sequence[ErrorCode]:
    """Every code that a field of a refused request may have."""
    return [ErrorCode(code.value, None, f"{title}.") for code, title in FIELD_TITLES.items()]


def error_codes(openapi: Document) -> Sequence[ErrorCode]:
    """Every code that the document lists, by status; one that has no text here yet is listed all the same."""
    names = _listed(openapi)
    codes = [_KNOWN.get(name) or ErrorCode(name, None, "The error's sentence says what to do.") for name in names]
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
    return status[:1] in {"4", "5"}  # also 4XX
