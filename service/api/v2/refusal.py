"""Refusals in RapidPro's shape: a JSON object whose values are a string, or lists of strings, and nothing else.

Its client joins them into one text, and raises TypeError on anything deeper.
"""

import json
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.api.errors import RETRY_AFTER_SECONDS, ApiError
from service.api.validation import JSON
from service.ports.errors import UnavailableError, UrlKeyUnopenableError
from service.ports.observer import Observer, Trouble

NOT_AUTHENTICATED: Final = "Authentication credentials were not provided."
PERMISSION_DENIED: Final = "You do not have permission to perform this action."
OTHER_SITE: Final = "CSRF Failed: the request comes from another site."
NOT_FOUND: Final = "Not found."
INVALID_CURSOR: Final = "Invalid cursor"

Body = Mapping[str, str | list[str]]


class RefusalError(Exception):
    """Ends the request with an error response."""

    def __init__(self, status: int, body: Body, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}

    def response(self) -> web.Response:
        """Build the response."""
        return json_response(self.body, self.status, self.headers)


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> RefusalError:
    """A refusal with one sentence as its ``detail``."""
    return RefusalError(status, {"detail": detail}, headers)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """``body`` as compact JSON in ASCII, so that any text that came in can be sent back."""
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(body=text.encode(), status=status, headers=headers, content_type=JSON)


def refusal_middleware(observer: Observer) -> Middleware:
    """Turn exceptions into error responses. ``observer`` gets the details of internal errors, the caller does not."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusalError as error:
            return error.response()
        except ApiError as error:
            return _from_entrance(error).response()
        except web.HTTPException as error:
            if error.status < web.HTTPBadRequest.status_code:
                raise
            sentence = NOT_FOUND if error.status == web.HTTPNotFound.status_code else error.reason
            return refusal(error.status, sentence).response()
        except UnavailableError as error:
            observer.tell(Trouble("api", error))
            sentence = "The service cannot reach its database now. Try again."
            if isinstance(error, UrlKeyUnopenableError):
                sentence = "The service lacks the key of your URLs with a query. Its operator has to put it back."
            return refusal(503, sentence, {"Retry-After": str(RETRY_AFTER_SECONDS)}).response()
        except Exception as error:  # noqa: BLE001 - the boundary: every failure gets the error shape
            observer.tell(Trouble("api", error))
            return refusal(500, "Something went wrong on our side.").response()

    return answer_errors


_STATUS_HERE: Final = {401: 403, 422: 400}


def _from_entrance(error: ApiError) -> RefusalError:
    """Convert an error of the shared checks to RapidPro's status and words."""
    sentence = error.sentence
    if error.status == web.HTTPTooManyRequests.status_code:
        seconds = int(error.headers["Retry-After"])
        unit = "second" if seconds == 1 else "seconds"
        sentence = f"Request was throttled. Expected available in {seconds} {unit}."
    headers = {name: value for name, value in error.headers.items() if name != "WWW-Authenticate"}
    return refusal(_STATUS_HERE.get(error.status, error.status), sentence, headers)
