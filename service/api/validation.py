"""Parse bodies and query strings into models; all errors are reported at once, by field."""

import asyncio
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, from_json

from service.api.errors import RETRY_AFTER_SECONDS, ApiError, Code, FieldErrors, invalid
from service.api.room import ROOM
from service.core.field_code import FieldCode, FieldSentence
from service.core.suggestion import SUGGESTIONS_MAX, did_you_mean

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 30.0
ERRORS_MAX: Final = 100
"""How many fields an answer complains of; beyond them it says only that there are more."""
JSON: Final = "application/json"

_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""Which packed bodies are taken, and how zlib is asked for each format."""

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


async def read_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX, holder: str = "") -> bytes:
    """Read the body. Raises ``ApiError`` if it is too large, too slow, or does not match its Content-Encoding.

    ``holder`` is who has sent it. While others are sending large ones, there may be no room for another (503).
    """
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            body = await _received(request, bytes_max, holder)
    except TimeoutError:
        sentence = f"the request body did not arrive within {BODY_SECONDS_MAX:g} s"
        raise ApiError(408, Code.REQUEST_TIMEOUT, sentence, headers={"Connection": "close"}) from None
    except (web.RequestPayloadError, ConnectionError):  # incomplete; or the client is gone, and nobody reads the answer
        raise invalid("the request body cannot be read") from None
    encoding = ", ".join(request.headers.getall("Content-Encoding", ["identity"])).strip().lower()
    body = body if encoding == "identity" else _unpacked(body, encoding, bytes_max)
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    return body


async def _received(request: web.Request, bytes_max: int, holder: str) -> bytes:
    body, taken_bytes = bytearray(), 0
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > bytes_max:
                raise too_large(bytes_max)
            wanted_bytes = max(0, len(body) - BODY_BYTES_MAX) - taken_bytes  # what is not large needs no room
            if wanted_bytes:
                if not ROOM.take(holder, wanted_bytes):
                    headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"}
                    sentence = "too many large request bodies are arriving; try again, or send smaller ones"
                    raise ApiError(503, Code.UNAVAILABLE, sentence, headers=headers)
                taken_bytes += wanted_bytes
        return bytes(body)
    finally:
        if taken_bytes:
            ROOM.give_back(holder, taken_bytes)


def _unpacked(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Unpack a body, and no more than one byte beyond the limit. Raises ``ApiError`` (400, 415).

    aiohttp would unpack while it receives, a thousandfold, without a pause, and before anybody has shown a key.
    """
    if encoding not in _WINDOW_BITS:
        sentence = f"the Content-Encoding must be one of {', '.join(_WINDOW_BITS)}, or left out"
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, sentence, headers={"Accept-Encoding": ", ".join(_WINDOW_BITS)})
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        found = unpacker.decompress(body, bytes_max + 1)
    except zlib.error:
        raise invalid("the request body is not what its Content-Encoding says") from None
    if not found or (len(found) <= bytes_max and (not unpacker.eof or unpacker.unused_data)):
        raise invalid("the request body is not what its Content-Encoding says")
    return found


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
    try:
        _check_keys(body.decode() or "{}")
    except DuplicateKeyError as error:
        raise invalid(f"the request body is not valid: {error}", {error.key: [_TWICE]}) from None
    return value


_UNSTORABLE_TEXT: Final = FieldSentence("must not contain the character U+0000", FieldCode.WRONG_FORM)
_TWICE: Final = FieldSentence("appears twice", FieldCode.REPEATED)
_GIVEN_TWICE: Final = FieldSentence("is given more than once", FieldCode.REPEATED)


class DuplicateKeyError(ValueError):
    """A JSON object has a key twice. Parsers disagree on which of the two counts, so neither does."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} appears twice")
        self.key = key


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object, as an ``object_pairs_hook``. Raises ``DuplicateKeyError``."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DuplicateKeyError(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return found


_check_keys: Final = json.JSONDecoder(object_pairs_hook=unique_keys, parse_int=str, parse_float=str).decode


def problems_of(model: type[BaseModel], value: Mapping[str, Any]) -> FieldErrors:
    """Return every validation error, by the field's path."""
    found = _read(model, value)
    return found if isinstance(found, dict) else {}


def parse_query(model: type[Model], request: web.Request) -> Model:
    """Parse the query string. Raises ``ApiError`` with every error, by parameter."""
    counts = Counter(name for name, _ in request.query.items())  # keys() has each name once
    twice = {name: [_GIVEN_TWICE] for name, count in counts.items() if count > 1}
    return parse_parameters(model, dict(request.query), twice)


def parse_parameters(
    model: type[Model], given: Mapping[str, str], problems: FieldErrors = MappingProxyType({})
) -> Model:
    """Parse a query's parameters. Raises ``ApiError`` with every error, including ``problems``, by parameter."""
    found = _read(model, given, problems)
    if not isinstance(found, dict):
        return found
    told: dict[str, list[str]] = {}
    for path, sentences in found.items():  # of several values, the one that is wrong is seen from the sentence
        known = told.setdefault(path.partition("[")[0], [])
        known += [each for each in sentences if each not in known]
    raise invalid("the query is not valid", told)


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
    """Return the model, or every error, including ``problems``; at most ``ERRORS_MAX``, and one that there are more.

    A body of 64 kB has room for thousands.
    """
    unstorable = islice(_unstorable(value), ERRORS_MAX + 1)
    errors = {_path(at): [_UNSTORABLE_TEXT] for at in unstorable} | dict(problems)
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        return bounded_errors(field_errors(error, model) | errors)
    return bounded_errors(errors) if errors else found


def bounded_errors(errors: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The errors; of more than ``ERRORS_MAX`` the first ones, and that there are more."""
    told = dict(islice(errors.items(), ERRORS_MAX))
    if len(errors) > ERRORS_MAX:
        told[_path(())] = [f"has more errors; {ERRORS_MAX} are told"]
    return told


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


def field_errors(error: ValidationError, model: type[BaseModel]) -> dict[str, list[str]]:
    """Pydantic's errors of a model as sentences with codes, by the field's path, such as ``retry.delays_seconds[2]``.

    At most one more than are told: some 20 microseconds each. Looking for a suggestion takes much longer, whether or
    not there is one, so it is done for the first few.
    """
    found: dict[str, list[str]] = {}
    tries = 0
    for each in error.errors(include_url=False):
        if len(found) > ERRORS_MAX:
            break
        code, sentence = _coded(each), _sentence(each)
        if code in _SUGGESTED and tries < SUGGESTIONS_MAX:
            sentence, tries = sentence + _suggestion(each, model), tries + 1
        told = found.setdefault(_path(each["loc"]), [])
        if sentence not in told:
            told.append(FieldSentence(sentence, code))
    return found


NO_INSTANT: Final = "must be a date-time with an offset, such as 2026-11-20T18:25:35Z"
_SENTENCES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "datetime_parsing": NO_INSTANT,
    "datetime_from_date_parsing": NO_INSTANT,
    "timezone_aware": NO_INSTANT,
}
_CODES: Final = {
    "missing": FieldCode.REQUIRED,
    "extra_forbidden": FieldCode.UNKNOWN_FIELD,
    "literal_error": FieldCode.UNKNOWN_VALUE,
    "enum": FieldCode.UNKNOWN_VALUE,
    "string_pattern_mismatch": FieldCode.WRONG_FORM,
    "timezone_aware": FieldCode.WRONG_FORM,
    "datetime_parsing": FieldCode.WRONG_FORM,
    "datetime_from_date_parsing": FieldCode.WRONG_FORM,
}
_SUGGESTED: Final = frozenset({FieldCode.UNKNOWN_FIELD, FieldCode.UNKNOWN_VALUE})
_RANGES: Final = ("too_short", "too_long", "greater_than", "greater_than_equal", "less_than", "less_than_equal")
_SUBJECT: Final = re.compile("^(Input|String|List|Dictionary) should ")
_EXPECTED: Final = re.compile("'([^']*)'")


def _code_of(kind: str) -> FieldCode:
    """The code for one of pydantic's types of errors."""
    if kind in _CODES:
        return _CODES[kind]
    if kind.endswith(_RANGES):
        return FieldCode.OUT_OF_RANGE
    return FieldCode.WRONG_TYPE if kind.endswith(("_type", "_parsing")) else FieldCode.INVALID


def _coded(found: ErrorDetails) -> FieldCode:
    """The code of an error: a validator of ours raises ValueError with a ``FieldSentence``, which has its own."""
    match found.get("ctx", {}).get("error"):
        case ValueError(args=(FieldSentence(code=code), *_)):
            return code
        case _:
            return _code_of(found["type"])


def _sentence(found: ErrorDetails) -> str:
    plain = _SUBJECT.sub("must ", found["msg"].removeprefix("Value error, ")).partition(" after validation")[0]
    return _SENTENCES.get(found["type"], plain)


def _suggestion(found: ErrorDetails, model: type[BaseModel]) -> str:
    """What was probably meant, if the name of a field or a value is mistyped; else ""."""
    match _code_of(found["type"]):
        case FieldCode.UNKNOWN_FIELD:
            return did_you_mean(str(found["loc"][-1]), _names_at(model, found["loc"][:-1]))
        case FieldCode.UNKNOWN_VALUE if isinstance(found["input"], str):
            return did_you_mean(found["input"], _EXPECTED.findall(found.get("ctx", {}).get("expected", "")))
        case _:
            return ""


def _names_at(model: type[BaseModel], path: tuple[int | str, ...]) -> Collection[str]:
    """The names of the fields at a path in a model's values."""
    models = {model}
    for part in path:
        if isinstance(part, str):
            fields = [each.model_fields[part].annotation for each in models if part in each.model_fields]
            models = {found for annotation in fields for found in _models_in(annotation)}
    return {field.alias or name for each in models for name, field in each.model_fields.items()}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def _path(parts: tuple[int | str, ...]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"
