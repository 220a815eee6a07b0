"""Request bodies: one object of fields, sent as JSON, as a form or as multipart. Raises ``RefusalError`` (400, 415)."""

import asyncio
import json
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from service.api.v2.refusal import RefusalError, refusal
from service.api.validation import JSON, unique_keys

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MEDIA_TYPES: Final = (JSON, FORM, MULTIPART)
FIELDS_MAX: Final = 100
CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
"""What a body or a part may say it is written in; all are read as UTF-8."""

Fields = Mapping[str, object]

# What aiohttp's reader raises for malformed parts; RuntimeError is an unknown encoding, or parts nested too deeply.
_UNREADABLE: Final = (ValueError, LookupError, AssertionError, RuntimeError, HttpProcessingError)


async def parse_fields(request: web.Request, body: bytes) -> Fields:
    """Return the fields of a body; an empty body has none, whatever its media type."""
    if not body:
        return {}
    match request.content_type:
        case "application/json":
            return _from_json(body, request.charset)
        case "application/x-www-form-urlencoded":
            return _from_form(body, request.charset)
        case "multipart/form-data":
            return await _from_multipart(request, body)
        case other:
            raise refusal(415, f'Unsupported media type "{other}" in request.')


def _text(body: bytes | bytearray, charset: str | None) -> str:
    """Decode UTF-8. Raises ValueError for another charset.

    A caller could name any codec of Python's: some take seconds for a body of this size, some read escapes.
    """
    if charset and charset.lower() not in CHARSETS:
        raise ValueError("the charset must be utf-8")
    return body.decode()


def _from_json(body: bytes, charset: str | None) -> Fields:
    try:
        value = json.loads(_text(body, charset), parse_constant=_refuse_constant, object_pairs_hook=unique_keys)
    except RecursionError:
        raise refusal(400, "JSON parse error - nested too deeply") from None
    except ValueError as error:
        raise refusal(400, f"JSON parse error - {error}") from None
    if not isinstance(value, dict):
        raise RefusalError(400, {"non_field_errors": ["Request body should be a single JSON object"]})
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"Out of range float values are not JSON compliant: {name}")


def _from_form(body: bytes, charset: str | None) -> Fields:
    try:
        return dict(parse_qsl(_text(body, charset), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise refusal(400, f"Form parse error - {error}") from None


async def _from_multipart(request: web.Request, body: bytes) -> Fields:
    """Return the text fields; files and nested parts are ignored.

    A part that names no charset has the request's.
    """
    stream = StreamReader(request.protocol, len(body) + 1, loop=asyncio.get_running_loop())
    stream.feed_data(body)
    stream.feed_eof()
    fields: dict[str, object] = {}
    part_count = 0
    try:
        async for part in MultipartReader(request.headers, stream):
            part_count += 1
            if part_count > FIELDS_MAX:
                raise ValueError("too many parts")
            if isinstance(part, BodyPartReader) and part.name is not None and part.filename is None:
                data = await part.read(decode=True)
                fields[part.name] = _text(data, part.get_charset(request.charset or "utf-8"))
    except _UNREADABLE:
        raise refusal(400, "Multipart form parse error - the parts cannot be read") from None
    return fields
