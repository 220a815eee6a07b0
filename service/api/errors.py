"""Errors of ``/v1``, all in one shape."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.problem import JSON, PROBLEM_JSON, Code, Problem, code_anchor, details_of, wants_details
from service.api.public_url import public_url
from service.api.vary import add_vary
from service.core.field_code import FieldCode, FieldSentence, codes_of
from service.ports.errors import UnavailableError, UrlKeyUnopenableError
from service.ports.observer import Observer, Trouble

__all__ = ["RETRY_AFTER_SECONDS", "ApiError", "Code", "FieldErrors", "Problem", "error_middleware", "invalid"]

RETRY_AFTER_SECONDS: Final = 1

FieldErrors = Mapping[str, Sequence[str]]


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


def about(field: str, sentence: str, code: FieldCode) -> FieldErrors:
    """What is wrong with one field."""
    return {field: [FieldSentence(sentence, code)]}


def error_middleware(observer: Observer, configured_url: str | None) -> Middleware:
    """Turn exceptions into error responses. ``observer`` gets the details of internal errors, the caller does not.

    ``configured_url`` is PUBLIC_URL, under which the codes are explained.
    """

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            refused = error
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            refused = _from_aiohttp(error)
        except UnavailableError as error:
            observer.tell(Trouble("api", error))
            sentence = "the service cannot reach its database now; try again"
            if isinstance(error, UrlKeyUnopenableError):
                sentence = "the service lacks the key of your URLs with a query; its operator has to put it back"
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            refused = ApiError(503, Code.UNAVAILABLE, sentence, headers=retry)
        except Exception as error:  # noqa: BLE001 - the boundary: every failure gets the error shape
            observer.tell(Trouble("api", error))
            refused = ApiError(500, Code.INTERNAL_ERROR, "something went wrong on our side")
        return _response(refused, request, public_url(request, configured_url))

    return answer_errors


def _response(error: ApiError, request: web.Request, base_url: str) -> web.Response:
    problem = Problem(
        error=error.sentence,
        code=error.code,
        statusCode=error.status,
        doc_url=f"{base_url}/docs#{code_anchor(error.code)}",
        errors={name: list(sentences) for name, sentences in error.errors.items()} or None,
        codes=codes_of(error.errors) or None,
    )
    shown, content_type = (details_of(problem), PROBLEM_JSON) if wants_details(request) else (problem, JSON)
    text = shown.model_dump_json(exclude_none=True)
    response = web.Response(text=text, status=error.status, headers=error.headers, content_type=content_type)
    add_vary(response, "Accept")
    return response


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
