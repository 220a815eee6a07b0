"""Parse bodies and query strings into models; all errors are reported at once, by field."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, from_json

from service.api.errors import ApiError, Code, FieldErrors, invalid

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 30.0
JSON: Final = "application/json"

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

Model = TypeVar("Model", bound=BaseModel)


class BodyModel(BaseModel):
    """A JSON object in a request: types are strict, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class QueryModel(BaseModel):
    """Query parameters, parsed from text to each field's type."""

    model_config = ConfigDict(extra="forbid")


class AnswerModel(BaseModel):
    """A JSON object in a response."""


async def read_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Read the body. Raises ``ApiError`` if it is too large, too slow, or does not match its Content-Encoding."""
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            body = await request.clone(client_max_size=bytes_max).read()  # bounds memory
    except TimeoutError:
        sentence = f"the request body did not arrive within {BODY_SECONDS_MAX:g} s"
        raise ApiError(408, Code.REQUEST_TIMEOUT, sentence, headers={"Connection": "close"}) from None
    except web.RequestPayloadError:  # incomplete, or does not match its Content-Encoding
        raise invalid("the request body cannot be read") from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large(bytes_max) from None
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    if not body and "Content-Encoding" in request.headers:  # aiohttp returns as much as it could decode
        raise invalid("the request body cannot be read")
    return body


def too_large(bytes_max: int) -> ApiError:
    """A body above the limit (413)."""
    return ApiError(413, Code.PAYLOAD_TOO_LARGE, f"the request body exceeds the limit of {bytes_max} bytes")


def require_media_type(request: web.Request, *media_types: str) -> None:
    """Raise ``ApiError`` (415) for any other Content-Type."""
    if request.content_type not in media_types:
        sentence = f"the Content-Type must be {' or '.join(sorted(media_types))}"
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, sentence, headers={"Accept": JSON})


def parse_body(model: type[Model], body: bytes) -> Model:
    """Parse the body; an empty one is ``{}``. Raises ``ApiError`` with every error."""
    return _validate(model, read_object(body), "the request is not valid")


def read_object(body: bytes) -> dict[str, Any]:
    """Parse the body as a JSON object; an empty one is ``{}``. Raises ``ApiError`` for anything else."""
    try:
        value = from_json(body or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"the request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid("the request body must be a JSON object")
    return value


def problems_of(model: type[BaseModel], value: Mapping[str, Any]) -> FieldErrors:
    """Return every validation error, by the field's path."""
    found = _read(model, value)
    return found if isinstance(found, dict) else {}


def parse_query(model: type[Model], request: web.Request) -> Model:
    """Parse the query string. Raises ``ApiError`` with every error."""
    counts = Counter(name for name, _ in request.query.items())  # keys() has each name once
    twice = {name: ["is given more than once"] for name, count in counts.items() if count > 1}
    return _validate(model, dict(request.query), "the query is not valid", twice)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text: it has no U+0000 and no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def _validate(
    model: type[Model], value: Mapping[str, Any], sentence: str, problems: FieldErrors = MappingProxyType({})
) -> Model:
    found = _read(model, value, problems)
    if isinstance(found, dict):
        raise invalid(sentence, found)
    return found


def _read(
    model: type[Model], value: Mapping[str, Any], problems: FieldErrors = MappingProxyType({})
) -> Model | dict[str, Sequence[str]]:
    """Return the model, or every error, including ``problems``."""
    errors = {_path(at): ["must not contain the character U+0000"] for at in _unstorable(value)} | dict(problems)
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        return field_errors(error) | errors
    return errors or found


def _unstorable(value: object, at: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Yield the paths of texts that PostgreSQL cannot store. The JSON parser bounds the depth."""
    match value:
        case str() if not is_storable(value):
            yield at
        case list():
            for index, each in enumerate(value):
                yield from _unstorable(each, (*at, index))
        case dict():
            for name, each in value.items():
                if not is_storable(name):
                    yield (*at, name)
                yield from _unstorable(each, (*at, name))
        case _:
            pass


def field_errors(error: ValidationError) -> dict[str, list[str]]:
    """Pydantic's errors as sentences, by the field's path, such as ``retry.delays_seconds[2]``."""
    found: dict[str, list[str]] = {}
    for each in error.errors(include_url=False, include_context=True):
        sentence = _sentence(each)
        told = found.setdefault(_path(each["loc"]), [])
        if sentence not in told:
            told.append(sentence)
    return found


_NO_INSTANT: Final = "must be a date-time with an offset, such as 2026-11-20T18:25:35Z"
_SENTENCES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "datetime_parsing": _NO_INSTANT,
    "datetime_from_date_parsing": _NO_INSTANT,
    "timezone_aware": _NO_INSTANT,
}
_SUBJECT: Final = re.compile("^(Input|String|List|Dictionary) should ")


def _sentence(found: ErrorDetails) -> str:
    plain = _SUBJECT.sub("must ", found["msg"].removeprefix("Value error, ")).partition(" after validation")[0]
    return _SENTENCES.get(found["type"], plain)


def _path(parts: tuple[int | str, ...]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"
