"""The properties of a message: byte by byte as its producer wrote them, which RabbitMQ hardly checks."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception
from typing import Final, NewType

Kind = NewType("Kind", int)
SHORT_TEXT: Final = Kind(0)  # a byte that says how long it is, then UTF-8
TABLE: Final = Kind(1)
OCTET: Final = Kind(2)
TIMESTAMP: Final = Kind(3)

PROPERTIES: Final[Mapping[str, tuple[int, Kind]]] = {
    "content_type": (0x8000, SHORT_TEXT),
    "content_encoding": (0x4000, SHORT_TEXT),
    "headers": (0x2000, TABLE),
    "delivery_mode": (0x1000, OCTET),
    "priority": (0x0800, OCTET),
    "correlation_id": (0x0400, SHORT_TEXT),
    "reply_to": (0x0200, SHORT_TEXT),
    "expiration": (0x0100, SHORT_TEXT),
    "message_id": (0x0080, SHORT_TEXT),
    "timestamp": (0x0040, TIMESTAMP),
    "message_type": (0x0020, SHORT_TEXT),
    "user_id": (0x0010, SHORT_TEXT),
    "app_id": (0x0008, SHORT_TEXT),
    "cluster_id": (0x0004, SHORT_TEXT),
}
"""Each with its flag; the values follow the flags in this order."""
UNKNOWN_FLAGS: Final = 0x0003  # the lowest bit announces more flags, of which AMQP 0-9-1 has none

FIXED_BYTES: Final = dict(zip(b"tbBsuIilLfdDTV", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 8, 0), strict=True))
TEXT, BYTES, ARRAY, INNER_TABLE = b"SxAF"
HEADERS_DEPTH_MAX: Final = 16
HEADERS_COUNT_MAX: Final = 1024
"""All names and values in the headers, at any depth: walking through them is work."""

_short, _long = Struct(">H"), Struct(">I")


class UnreadableError(ValueError):
    """The properties are not what AMQP 0-9-1 allows; the text says which, and why."""


def split_properties(encoded: bytes) -> dict[str, bytes]:
    """Return the value of each property that is there, encoded as it came.

    Raises ``UnreadableError``, and nothing else whatever the bytes are.
    """
    try:
        (flags,) = _short.unpack_from(encoded)
        return _split(encoded, flags, is_strict=True)
    except (StructError, IndexError):
        raise UnreadableError("the properties are cut off") from None


def outline(encoded: bytes) -> dict[str, bytes]:
    """The same of properties whose texts and headers may be anything. Raises ``UnreadableError``."""
    try:
        (flags,) = _short.unpack_from(encoded)
        return _split(encoded, flags, is_strict=False)
    except (StructError, IndexError):
        raise UnreadableError("the properties are cut off") from None


def _split(encoded: bytes, flags: int, *, is_strict: bool) -> dict[str, bytes]:
    if flags & UNKNOWN_FLAGS:
        raise UnreadableError("there are flags of unknown properties")
    found: dict[str, bytes] = {}
    at = _short.size
    for name, kind in _named_by(flags):
        if kind is SHORT_TEXT:
            end = at + 1 + encoded[at]
            if is_strict:
                check_text(encoded[at + 1 : end], name)
        elif kind is TABLE:
            end = at + _long.size + _long.unpack_from(encoded, at)[0]
            if is_strict and end <= len(encoded):
                _check_table(encoded, at + _long.size, end)
        else:
            end = at + (8 if kind is TIMESTAMP else 1)
        if end > len(encoded):
            raise UnreadableError(f"{name} is cut off")
        found[name] = encoded[at:end]
        at = end
    if at != len(encoded):
        raise UnreadableError("there are bytes after the last property")
    return found


@lru_cache(maxsize=64)  # a producer always sets the same ones
def _named_by(flags: int) -> tuple[tuple[str, Kind], ...]:
    return tuple((name, kind) for name, (flag, kind) in PROPERTIES.items() if flags & flag)


def is_utf8(value: bytes) -> bool:
    """Whether ``value`` is UTF-8."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_text(value: bytes, name: str) -> None:
    """Raise ``UnreadableError`` if ``value`` is not UTF-8."""
    if not is_utf8(value):
        raise UnreadableError(f"{name} is not UTF-8")


def _check_table(encoded: bytes, at: int, end: int) -> None:
    """Walk through a table and everything in it, without recursion: it may be nested as deep as a frame is long."""
    ends, are_tables = [end], [True]
    count = 0
    while ends:
        if at == ends[-1]:
            ends.pop()
            are_tables.pop()
            continue
        count += 1
        if count > HEADERS_COUNT_MAX:
            raise UnreadableError(f"the headers have more than {HEADERS_COUNT_MAX} names and values")
        if are_tables[-1]:
            start, at = at + 1, at + 1 + encoded[at]
            check_text(encoded[start:at], "the name of a header")
        kind, at = encoded[at], at + 1
        if (size := FIXED_BYTES.get(kind)) is not None:
            at += size
        elif kind in {TEXT, BYTES}:
            at += _long.size + _long.unpack_from(encoded, at)[0]
        elif kind in {ARRAY, INNER_TABLE}:
            inner_end = at + _long.size + _long.unpack_from(encoded, at)[0]
            at += _long.size
            if inner_end > ends[-1]:
                raise UnreadableError("the headers are cut off")
            if len(ends) == HEADERS_DEPTH_MAX:
                raise UnreadableError(f"the headers are nested deeper than {HEADERS_DEPTH_MAX}")
            ends.append(inner_end)
            are_tables.append(kind == INNER_TABLE)
        else:
            raise UnreadableError(f"a header has the unknown type 0x{kind:02x}")
        if at > ends[-1]:
            raise UnreadableError("the headers are cut off")


def text_of(value: bytes | None) -> str | None:
    """Return the text of a short one that ``split_properties`` found."""
    return None if value is None else value[1:].decode()


def join_properties(found: Mapping[str, bytes]) -> bytes:
    """Encode properties whose values are encoded already."""
    names = [name for name in PROPERTIES if name in found]
    flags = sum(PROPERTIES[name][0] for name in names)
    return _short.pack(flags) + b"".join(found[name] for name in names)


def top_level(table: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Return the name and the encoded entry of each header, of a table that ``split_properties`` found."""
    at = _long.size
    while at < len(table):
        start, at = at, at + 1 + table[at]
        name = table[start + 1 : at]
        kind, at = table[at], at + 1
        size = FIXED_BYTES.get(kind)
        at += _long.size + _long.unpack_from(table, at)[0] if size is None else size
        yield name, table[start:at]


def text_entry(name: str, text: str) -> bytes:
    """Encode a header that is a text."""
    value = text.encode(errors="backslashreplace")
    return bytes([len(name)]) + name.encode() + bytes([TEXT]) + _long.pack(len(value)) + value


def join_table(entries: Iterable[bytes]) -> bytes:
    """Encode a table of encoded entries."""
    joined = b"".join(entries)
    return _long.pack(len(joined)) + joined
