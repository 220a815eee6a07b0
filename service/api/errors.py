"""Errors of ``/v1``, all in one JSON shape."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel

from service.ports.errors import UnavailableError
from service.ports.observer import Observer, Trouble

RETRY_AFTER_SECONDS: Final = 1

FieldErrors = Mapping[str, Sequence[str]]


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


class Problem(BaseModel):
    """An error response. `errors` lists what is wrong with each field."""

    success: Literal[False] = False
    error: str
    code: Code
    statusCode: int  # noqa: N815 - the name on the wire
    errors: dict[str, list[str]] | None = None


class ApiError(Exception):
    """Ends the request with an error response; the caller sees ``sentence`` and ``errors``."""

    def __init__(
        self,
        status: int,
        code: Code,
        sentence: str,
        *,
        errors: FieldErrors | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.errors = errors or {}
        self.headers = headers or {}


def invalid(sentence: str, errors: FieldErrors | None = None) -> ApiError:
    """A request that fails validation (400)."""
    return ApiError(400, Code.VALIDATION_ERROR, sentence, errors=errors)


def error_middleware(observer: Observer) -> Middleware:
    """Turn exceptions into error responses. ``observer`` gets the details of internal errors, the caller does not."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return _response(error)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return _response(_from_aiohttp(error))
        except UnavailableError as error:
            observer.tell(Trouble("api", error))
            sentence = "the service cannot reach its database now; try again"
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return _response(ApiError(503, Code.UNAVAILABLE, sentence, headers=retry))
        except Exception as error:  # noqa: BLE001 - the boundary: every failure gets the error shape
            observer.tell(Trouble("api", error))
            return _response(ApiError(500, Code.INTERNAL_ERROR, "something went wrong on our side"))

    return answer_errors


def _response(error: ApiError) -> web.Response:
    errors = {name: list(sentences) for name, sentences in error.errors.items()} or None
    problem = Problem(error=error.sentence, code=error.code, statusCode=error.status, errors=errors)
    text = problem.model_dump_json(exclude_none=True)
    return web.Response(text=text, status=error.status, headers=error.headers, content_type="application/json")


_FROM_AIOHTTP: Final = {
    404: (Code.NOT_FOUND, "no such path; see /docs"),
    405: (Code.METHOD_NOT_ALLOWED, "method not allowed for this path"),
    413: (Code.PAYLOAD_TOO_LARGE, "the request body is too large"),
}


def _from_aiohttp(error: web.HTTPException) -> ApiError:
    code, sentence = _FROM_AIOHTTP.get(error.status, (Code.VALIDATION_ERROR, "the request cannot be read"))
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code, sentence = Code.INTERNAL_ERROR, "something went wrong on our side"
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return ApiError(error.status, code, sentence, headers=headers)
