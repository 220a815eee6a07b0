"""Reading a reply: nothing in it is trusted, every part is bounded, and once read its status is final."""

import asyncio
from functools import partial
from typing import Final

from aiohttp import ClientPayloadError, StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, HttpVersion10, HttpVersion11, RawResponseMessage

from service.core.deliveries.request import Reply

REPLY_BODY_BYTES_MAX: Final = 16 * 1024
LINE_BYTES_MAX: Final = 8190
REPLY_HEADERS_MAX: Final = 100
INTERIM_REPLIES_MAX: Final = 8  # 1xx replies before the final one
HEADER_CHARACTERS_MAX: Final = 2048  # of a Location, Retry-After or X-Hook-Secret header
_VERSIONS: Final = frozenset({HttpVersion10, HttpVersion11})  # others are framed differently


class RoundTrip:
    """What is known so far about one round trip, whatever interrupts it."""

    __slots__ = ("body", "has_interim", "is_kept_connection", "is_second_connection", "message")

    def __init__(self) -> None:
        self.message: RawResponseMessage | None = None
        self.body = b""
        self.has_interim = False
        self.is_kept_connection = False
        self.is_second_connection = False

    @property
    def is_silent(self) -> bool:
        """Whether no reply, not even an interim one, has arrived."""
        return self.message is None and not self.has_interim

    def reply(self, duration_ms: int) -> Reply:
        """The reply as a value; call it only once ``message`` is set."""
        message = self.message
        assert message is not None  # noqa: S101  tells the type checker what the docstring says
        headers = message.headers
        return Reply(
            message.code,
            duration_ms,
            self.body[:REPLY_BODY_BYTES_MAX],
            tuple(map(_text, headers.getall("Retry-After", ()))),
            _text(headers.get("Location", "")),
            self.is_second_connection,
            tuple(map(_text, headers.getall("X-Hook-Secret", ()))),
            message.raw_headers,
            self.is_kept_connection,
        )


def expect_reply(protocol: ResponseHandler) -> None:
    """Set the limits for the reply to the POST that is about to be written."""
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=REPLY_BODY_BYTES_MAX,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=LINE_BYTES_MAX,
        max_headers=REPLY_HEADERS_MAX,
    )


async def read_reply(protocol: ResponseHandler, round_trip: RoundTrip) -> bool:
    """Fill ``round_trip``; returns whether the whole reply was read, so that the connection can be reused."""
    message, payload = await protocol.read()
    interim_count = 0
    while 100 <= message.code < 200 and message.code != 101:  # noqa: PLR2004  no judgement: another reply follows
        round_trip.has_interim = True
        interim_count += 1
        if interim_count > INTERIM_REPLIES_MAX:
            raise HttpProcessingError(message="too many interim replies")
        message, payload = await protocol.read()
    if message.version not in _VERSIONS:
        raise HttpProcessingError(
            message=f"the reply's version is HTTP/{message.version.major}.{message.version.minor}"
        )
    round_trip.message = message
    if payload.is_eof():
        round_trip.body = payload.read_nowait(REPLY_BODY_BYTES_MAX)
    else:
        await _read_body(protocol, payload, round_trip)
    return payload.is_eof()


async def _read_body(protocol: ResponseHandler, payload: StreamReader, round_trip: RoundTrip) -> None:
    closed = protocol.closed
    if closed is None:
        return  # the connection is closed already
    # After a malformed chunk aiohttp closes the connection but leaves the body's reader waiting, so wake it here.
    give_up = partial(_give_up, payload)
    closed.remove_done_callback(_take_note)
    closed.add_done_callback(_take_note)
    closed.add_done_callback(give_up)
    try:
        while len(round_trip.body) < REPLY_BODY_BYTES_MAX and (chunk := await payload.readany()):
            round_trip.body += chunk
    finally:
        closed.remove_done_callback(give_up)


def _give_up(payload: StreamReader, _: asyncio.Future[None]) -> None:
    if not payload.is_eof() and payload.exception() is None:
        payload.set_exception(ClientPayloadError("the connection closed"))


def _take_note(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()  # otherwise asyncio logs an exception that was never retrieved


def _text(value: str) -> str:
    """Replace the lone surrogates that the parser leaves in a header value that is not UTF-8."""
    return value[:HEADER_CHARACTERS_MAX].encode("utf-8", "surrogateescape").decode("utf-8", "replace") if value else ""
