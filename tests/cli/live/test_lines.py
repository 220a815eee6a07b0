"""What listen and tail print, and how they read the stream: apart from any terminal, byte by byte."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.cli.live import messages
from service.cli.live.feed import Arrived
from service.cli.live.forwarding import Forwarded
from service.cli.live.lines import Lines, first_line
from service.cli.live.messages import Message, MessageReader
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault, Reply
from service.core.reason import Reason

NOW = datetime(2026, 11, 20, 14, 40, 12, tzinfo=UTC)
EVENT_ID = "evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8"
STREAM = (
    b": open\nid: a\n\n"
    b'id: b\nevent: event\ndata: {"text":\ndata:  "\xc3\xa9"}\n\n'
    b"\n"
    b"id: c\r\nevent: gap\r\ndata: {}\r\nretry: 1\r\n\r\n"
    b"event: later\ndata\n\n"
    b"id: x\0y\ndata:{}\n\n"
    b"event: event\ndata: {}\n"
)
TOLD = [
    Message("", b"", "a"),
    Message("event", b'{"text":\n "\xc3\xa9"}', "b"),
    Message("", b"", "b"),
    Message("gap", b"{}", "c"),
    Message("later", b"", "c"),
    Message("", b"{}", "c"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_read_however_it_is_cut(size: int) -> None:
    reader = MessageReader()
    chunks = [STREAM[begin : begin + size] for begin in range(0, len(STREAM), size)]
    assert [message for chunk in chunks for message in reader.feed(chunk)] == TOLD
    assert reader.cursor == "c"


@pytest.mark.parametrize("chunk", [b"x" * 60, b"data: 0123456789\n"])
def test_a_message_without_end_is_not_read_for_ever(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MESSAGE_BYTES_MAX", 100)
    reader = MessageReader()
    with pytest.raises(ValueError, match="more than 100 bytes"):
        [list(reader.feed(chunk)) for _ in range(20)]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def forwarded(
    answer: Reply | Fault, *, event_type: str = "message.replied", is_past: bool = False, attempt: int = 1
) -> Forwarded:
    event = Arrived(EVENT_ID, event_type, b"{}", NOW, is_past)
    return Forwarded(event, attempt, NOW, answer, classify(answer, NOW), "localhost:3000")


def printed(lines: Lines, *answers: Forwarded) -> list[str]:
    return [line.plain for each in answers for line in lines.of_forwarded(each)]


FAILED = forwarded(Reply(500, 38, b"\nTypeError: cannot read 'text' of null\n    at hooks.js:7\n"))
REFUSED = forwarded(Fault(Reason.CONNECT_REFUSED, 1, "connection failed"), event_type="link.clicked")


def test_at_80_columns() -> None:
    accepted = forwarded(Reply(204, 9), event_type="message.delivered")
    assert printed(Lines(80), accepted, FAILED, REFUSED) == [
        "14:40:12  message.delivered  evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✓ 204          9 ms",
        "14:40:12  message.replied    evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✗ 500         38 ms",
        "          TypeError: cannot read 'text' of null",
        "14:40:12  link.clicked       evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✗ refused      1 ms",
        "          nothing listens on localhost:3000",
    ]


def test_an_id_that_does_not_fit_gets_its_own_line_and_is_never_cut() -> None:
    assert printed(Lines(70), FAILED) == [
        "14:40:12  message.replied    ✗ 500         38 ms",
        "          evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8",
        "          TypeError: cannot read 'text' of null",
    ]


def test_at_120_columns_the_reply_is_on_the_same_line() -> None:
    past = forwarded(Reply(204, 12_345), event_type="message.sent", is_past=True)
    again = forwarded(Reply(410, 3), attempt=2)
    assert printed(Lines(120), past, FAILED, again) == [
        "14:40:12  message.sent       evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✓ 204        12.3 s  past",
        "14:40:12  message.replied    evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✗ 500         38 ms  TypeError: cannot read 'text' of null",
        "14:40:12  message.replied    evt_01KAKDB7Y2F4H6J8L0N2Q4S6U8  ✗ 410          3 ms  again",
        "          the receiver answered 410: it wants no more of these events",
    ]


def test_a_terminal_without_glyphs_gets_letters() -> None:
    assert "x 500" in printed(Lines(80, is_ascii=True), FAILED)[0]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ("", ""),
        ("\n\n  oh no \nmore", "oh no"),
        ("<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>", "500 Internal Server Error"),
        ("<" * 1000, ""),
        ("a < b", "a < b"),
        ("\x1b[2Jgone\u202e", r"\x1b[2Jgone\u202e"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_reply_is_told_by_its_first_line(reply: str, line: str) -> None:
    assert first_line(reply) == line


def attempt(**changes: Any) -> dict[str, Any]:
    return {
        "delivery_id": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f0c12_17",
        "event_type": "message.failed",
        "number": 4,
        "started_at": "2026-11-20T14:40:12.000000Z",
        "duration_ms": 96,
        "outcome": "failed",
        "reason": "http_status",
        "status": 503,
        "detail": "the receiver answered 503",
        "reply": "",
        "state": "pending",
        "next_attempt_at": "2026-11-20T14:48:55.000000Z",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "rest"),
    [
        ({}, "↻ 503         96 ms  try 4, next 14:48:55"),
        ({"reply": "busy"}, "↻ 503         96 ms  try 4, next 14:48:55  busy"),
        (
            {"outcome": "accepted", "status": 204, "reason": None, "state": "delivered", "next_attempt_at": None},
            "✓ 204         96 ms  try 4",
        ),
        (
            {"state": "dead", "next_attempt_at": None, "status": None, "reason": "timeout", "reply": "oh"},
            "✗ timeout     96 ms  try 4, dead  oh",
        ),
        (
            {"outcome": "gone", "reason": "gone", "state": "cancelled", "next_attempt_at": None, "status": 410},
            "⊘ 410         96 ms  try 4, cancelled  the receiver answered 503",
        ),
        (
            {"status": None, "reason": "a_later_one"},
            "↻ a_later_one     96 ms  try 4, next 14:48:55  the receiver answered 503",
        ),
    ],
)
def test_an_attempt_says_what_follows(changes: dict[str, Any], rest: str) -> None:
    [line] = Lines(1000).of_attempt(attempt(**changes))
    assert line.plain == f"14:40:12  message.failed     dlv_0193ab6e7c5d7a10b3f24c9d8e7f0c12_17  {rest}"
