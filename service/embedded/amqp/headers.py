"""The broker's own headers, added to a message whose properties may be any bytes."""

import struct
from collections.abc import Mapping
from typing import Any, Final

from pamqp import encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

HAS_HEADERS: Final = 0x2000
BEFORE_HEADERS: Final = (0x8000, 0x4000)  # the flags of the two short texts that come first


def decoded(properties: bytes) -> Basic.Properties | None:
    """Return the properties, or None if they cannot be decoded."""
    header = ContentHeader()
    try:
        header.unmarshal(bytes(12) + properties)
    except (ValueError, struct.error, OverflowError, OSError, RecursionError):
        return None
    return header.properties


def with_headers(properties: bytes, headers: Mapping[str, Any]) -> bytes:
    """Return the properties with these headers. The others keep their bytes, unless one of these takes its place."""
    readable = decoded(properties)
    if readable is None or not (readable.headers or {}).keys() & headers.keys():
        return _inserted(properties, encode.field_table(dict(headers))[4:])
    readable.headers = {**(readable.headers or {}), **headers}
    try:
        return readable.marshal()
    except (TypeError, ValueError, OverflowError, struct.error):  # some that can be decoded cannot be encoded again
        return _inserted(properties, encode.field_table(dict(headers))[4:])


def _inserted(properties: bytes, entries: bytes) -> bytes:
    try:
        (flags,) = struct.unpack_from(">H", properties)
        at = 2
        for flag in BEFORE_HEADERS:
            at += 1 + properties[at] if flags & flag else 0
        (size,) = struct.unpack_from(">I", properties, at) if flags & HAS_HEADERS else (0,)
    except (struct.error, IndexError):
        return properties  # there is no place for headers in it
    rest = at + (4 if flags & HAS_HEADERS else 0)
    table = entries + properties[rest : rest + size]
    head = struct.pack(">H", flags | HAS_HEADERS) + properties[2:at]
    return head + struct.pack(">I", len(table)) + table + properties[rest + size :]
