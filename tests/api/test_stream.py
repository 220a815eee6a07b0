"""``GET /v1/stream``, over the whole application on a port, with a real PostgreSQL."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import ClientError
from sqlalchemy import make_url

from service.adapters.postgres.engine import driver
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.stream import tail as reading
from service.adapters.postgres.stream.tail import StreamReader
from service.adapters.system import SystemClock, new_uid
from service.api.v1 import stream as operation
from service.app import connections, listening
from service.core.deliveries.request import Fault, Reply
from service.core.events.sample import sample_event
from service.core.keys.api_key import NewKey
from service.core.reason import Reason
from service.core.room import Room
from service.core.stream.position import Cursor, Position, Snapshot
from service.core.stream.told import Message, Wanted, What
from service.flow.stream import past, streams, tail
from service.flow.stream.listener import Listener
from service.flow.stream.waiting import TAKEN_BYTES
from service.flow.surroundings import Surroundings
from service.ports.errors import UnavailableError
from service.ports.observer import StreamGap, StreamsOpen, Trouble
from service.ports.stream import OpenStream
from tests.api.entrance_rig import make_key
from tests.api.stream_rig import Ear, Streaming, Told, streaming_on
from tests.contract.relay import Relay
from tests.end_to_end.waiting import until
from tests.fakes.actor import SOMEBODY
from tests.fakes.clock import ManualClock

MINE, OTHER = "org_mine", "org_other"
HELD = """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
          VALUES ($1, 'org_mine', $2, 'message.sent', now(), false, convert_to($3, 'UTF8'))"""


@pytest.fixture
async def streaming(database_url: str) -> AsyncIterator[Streaming]:
    async with streaming_on(database_url) as streaming:
        yield streaming


@pytest.fixture
async def key(streaming: Streaming) -> NewKey:
    return await make_key(streaming.engine, MINE)


def ids(told: list[Told]) -> list[str]:
    return [each.data["id"] for each in told]


# ---------------------------------------------------------------------- what is told


async def test_an_event_is_what_the_list_shows_and_its_exact_bytes(streaming: Streaming, key: NewKey) -> None:
    async with streaming.listen(key, what="events") as ear:
        await streaming.publish(key, "evt_1")
        told = await ear.next()
    stored = await streaming.value("SELECT body FROM events")
    assert told.kind == "event"
    assert told.data == await streaming.get(key, "/v1/events/evt_1") | {"body": stored.decode()}


async def test_line_breaks_of_a_producer_break_no_message(streaming: Streaming, key: NewKey) -> None:
    sample = sample_event("message.sent", MINE, event_id="evt_1", number=1, now=datetime.now(UTC))
    body = json.dumps(json.loads(sample), indent=1).replace("\n ", "\r\n\r")
    async with streaming.listen(key, what="events") as ear:
        headers = {"Content-Type": "application/json"}
        async with streaming.ask(key, "/v1/events", method="POST", data=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
        told = await ear.next()
        await streaming.publish(key, "evt_2")
        assert ids([await ear.next()]) == ["evt_2"]
    stored = await streaming.value("SELECT body FROM events WHERE event_id = 'evt_1'")
    assert b"\r\n\r" in stored  # the producer's bytes were kept
    assert told.data["body"] == stored.decode()
    assert told.data["data"] == json.loads(body)["data"]


async def test_an_attempt_says_what_it_left_its_delivery_in(streaming: Streaming, key: NewKey) -> None:
    endpoint_id = await streaming.endpoint(key)
    async with streaming.listen(key) as ear:
        await streaming.publish(key, "evt_1")
        assert (await ear.next()).kind == "event"
        await streaming.attempt(Reply(503, 12, b"later"))
        failed = await ear.next()
        await streaming.value("UPDATE open_deliveries SET next_attempt_at = now()")
        await streaming.attempt(Reply(204, 7))
        delivered = await ear.next()
    assert (failed.kind, delivered.kind) == ("attempt", "attempt")
    shown = await streaming.get(key, f"/v1/deliveries/{failed.data['delivery_id']}")
    first, second = shown["attempts"]
    for told, attempt in ((failed.data, first), (delivered.data, second)):
        assert {name: told[name] for name in attempt.keys() & told.keys()} == {
            name: attempt[name] for name in attempt.keys() & told.keys()
        }
        assert (told["event_id"], told["event_type"]) == ("evt_1", "message.sent")
        assert told["endpoint_id"] == endpoint_id
    assert (failed.data["state"], failed.data["reason"], failed.data["reply"]) == ("pending", "http_status", "later")
    assert failed.data["next_attempt_at"] is not None
    assert (delivered.data["state"], delivered.data["next_attempt_at"]) == ("delivered", None)
    async with streaming.listen(key, (await _before(streaming, failed))) as ear:  # as seen when it was tried again
        again = await ear.next()
    assert (again.data["state"], again.data["next_attempt_at"]) == ("pending", None)


async def _before(streaming: Streaming, _: Told) -> str:
    """A cursor from when only the event was there."""
    recorded_in = await streaming.value("SELECT min(recorded_in)::text FROM attempts")
    at = await streaming.value("SELECT now()")
    server = await streaming.value(f"SELECT {reading._SERVER}")
    return str(Cursor.at(at, Position(Snapshot(int(recorded_in)), server=server)))


async def test_what_ends_a_delivery_is_told(streaming: Streaming, key: NewKey) -> None:
    await streaming.endpoint(key)
    async with streaming.listen(key, what="attempts") as ear:
        await streaming.publish(key, "evt_1")
        await streaming.attempt(Reply(410, 3))
        gone = await ear.next()
    assert (gone.data["outcome"], gone.data["state"], gone.data["reason"]) == ("gone", "cancelled", "gone")


async def test_filters(streaming: Streaming, key: NewKey) -> None:
    one, two = [await streaming.endpoint(key, name) for name in ("one", "two")]
    async with AsyncExitStack() as stack:

        async def listen(**query: str) -> Ear:
            return await stack.enter_async_context(streaming.listen(key, **query))

        clicks = await listen(event_type="link.clicked", what="events")
        both = await listen(event_type="link.clicked,message.read", what="events,attempts", endpoint_id=two)
        attempts = await listen(what="attempts", endpoint_id=f"{one},ep_unknown")
        await streaming.publish(key, "evt_1")
        await streaming.publish(key, "evt_2", type_="link.clicked")
        await streaming.attempt(Reply(200, 1))
        assert ids([await clicks.next()]) == ["evt_2"]
        assert (await both.next()).data["id"] == "evt_2"
        told = (await both.next()).data
        assert (told["event_id"], told["endpoint_id"]) == ("evt_2", two)
        told_of_one = [each.data for each in await attempts.several(2)]
        assert {each["event_id"] for each in told_of_one} == {"evt_1", "evt_2"}
        assert {each["endpoint_id"] for each in told_of_one} == {one}


@pytest.mark.parametrize("query", ["what=all", "event_type=", "endpoint_id=%21", "since=1", "cursor=x"])
async def test_what_cannot_be_asked_is_refused(streaming: Streaming, key: NewKey, query: str) -> None:
    async with streaming.ask(key, f"/v1/stream?{query}") as response:
        assert response.status == 400
        assert list((await response.json())["errors"]) == [query.partition("=")[0]]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "zmkLMh", "\u00e4", "A" * 5000])
async def test_an_id_that_is_none_is_refused(streaming: Streaming, key: NewKey, cursor: str) -> None:
    async with streaming.ask(key, headers={"Last-Event-ID": cursor}) as response:
        assert response.status == 400
        assert list((await response.json())["errors"]) == ["Last-Event-ID"]


async def test_head_tells_what_get_would_answer(streaming: Streaming, key: NewKey) -> None:
    async with streaming.ask(key, method="HEAD") as response:
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers["Content-Type"] == "text/event-stream"
    assert not [each for each in streaming.heard.happenings if isinstance(each, StreamsOpen)]


# ---------------------------------------------------------------------- who is told


async def test_nobody_is_told_of_what_is_anothers(streaming: Streaming, key: NewKey) -> None:
    other = await make_key(streaming.engine, OTHER)
    for each in (key, other):
        await streaming.endpoint(each)
    async with streaming.listen(key) as mine, streaming.listen(other) as theirs:
        await streaming.publish(other, "evt_theirs")
        await streaming.publish(key, "evt_mine")
        await streaming.attempt(Reply(200, 1))
        for ear, event_id in ((mine, "evt_mine"), (theirs, "evt_theirs")):
            event, attempt = await ear.several(2)
            assert (event.data["id"], attempt.data["event_id"]) == (event_id, event_id)
        cursor = theirs.cursor
        await streaming.publish(key, "evt_last")
        assert ids([await mine.next()]) == ["evt_last"]
    async with streaming.listen(key, cursor) as mine:  # another's cursor says when, not whose
        while (told := await mine.next()).kind == "attempt":
            assert told.data["event_id"] == "evt_mine"
        assert ids([told]) == ["evt_last"]


async def test_a_key_needs_to_read_all(streaming: Streaming, key: NewKey) -> None:
    endpoint_id = await streaming.endpoint(key)
    for scopes in (("write", "publish"), (f"read:{endpoint_id}",)):
        limited = await make_key(streaming.engine, MINE, scopes)
        async with streaming.ask(limited) as response:
            assert response.status == 403
    async with streaming.listen(await make_key(streaming.engine, MINE, ("read",))):
        pass


@pytest.mark.parametrize(("change", "reason"), [("revoked_at", "key_revoked"), ("expires_at", "key_expired")])
async def test_the_stream_of_a_key_that_ends_is_closed(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    monkeypatch.setattr(tail, "KEYS_SECONDS", 0.0)
    reader = await make_key(streaming.engine, MINE, ("read",))
    async with streaming.listen(reader) as ear, streaming.listen(key) as other:
        if change == "revoked_at":
            await KeyStore(streaming.engine).revoke(reader.key_id, by=SOMEBODY)
        else:
            await streaming.value("UPDATE api_keys SET expires_at = now() WHERE id = $1", reader.key_id)
        told = await ear.next()
        assert (told.kind, told.data) == ("closed", {"reason": reason})
        with pytest.raises(EOFError):
            await ear.next()
        await streaming.publish(key, "evt_1")
        assert ids([await other.next()]) == ["evt_1"]


async def test_a_key_has_five_streams_and_gets_another_when_one_ends(streaming: Streaming, key: NewKey) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(streaming.listen(key))
        async with streaming.listen(key):
            async with streaming.ask(key) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "1")
                assert "5 open streams" in (await response.json())["error"]
            async with streaming.listen(await make_key(streaming.engine, MINE)):
                pass

        async def is_let_in() -> bool:
            async with streaming.ask(key) as response:
                return bool(response.status == 200)

        await until(is_let_in, "a stream that its client has closed makes room")


async def test_nobody_takes_all_streams_of_a_process(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.flow.stream.streams.OF_PROCESS_MAX", 4)
    async with streaming.listen(key), streaming.listen(key):
        async with streaming.ask(key) as response:
            assert (response.status, (await response.json())["code"]) == (503, "UNAVAILABLE")
        async with streaming.listen(await make_key(streaming.engine, OTHER)):
            pass


async def test_a_fault_of_ours_answers_who_waits_to_be_let_in(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reading, "_NOW", "SELECT 1 / cardinality($1::text[]) - 1 / 0 AS at")
        async with streaming.ask(key) as response:
            assert (response.status, (await response.json())["code"]) == (503, "UNAVAILABLE")
    troubles = [str(each.error) for each in streaming.heard.happenings if isinstance(each, Trouble)]
    assert troubles == ["division by zero", "the stream has ended; open it again"], "not after all patience"
    streaming.heard.happenings.clear()
    async with streaming.listen(key) as ear:
        await streaming.publish(key, "evt_1")
        assert ids([await ear.next()]) == ["evt_1"]


# ---------------------------------------------------------------------- nothing is missed, nothing told twice


async def test_what_is_committed_late_is_told(streaming: Streaming, key: NewKey, database_url: str) -> None:
    """Its transaction began first and its uid is the oldest; others commit, are told, and are resumed after meanwhile."""
    holder = await asyncpg.connect(database_url)
    async with streaming.listen(key, what="events") as ear:
        held = holder.transaction()
        await held.start()
        body = '{"id": "evt_late"}'
        await holder.execute(HELD, new_uid(), "evt_late", body)
        for event_id in ("evt_1", "evt_2"):
            await streaming.publish(key, event_id)
            assert ids([await ear.next()]) == [event_id]
        between = ear.cursor
        await held.commit()
        late = await ear.next()
        assert (late.data["id"], late.data["body"]) == ("evt_late", body)
        await streaming.publish(key, "evt_3")
        assert ids([await ear.next()]) == ["evt_3"]
    await holder.close()
    async with streaming.listen(key, between, what="events") as ear:  # a cursor knows which transactions were running
        assert ids(await ear.several(2)) == ["evt_late", "evt_3"]


async def test_what_was_given_up_is_never_told(streaming: Streaming, key: NewKey, database_url: str) -> None:
    holder = await asyncpg.connect(database_url)
    async with streaming.listen(key, what="events") as ear:
        held = holder.transaction()
        await held.start()
        await holder.execute(HELD, new_uid(), "evt_undone", "{}")
        await streaming.publish(key, "evt_1")
        assert ids([await ear.next()]) == ["evt_1"]
        await held.rollback()
        await streaming.publish(key, "evt_2")
        assert ids([await ear.next()]) == ["evt_2"]
    await holder.close()


async def test_a_stream_is_resumed_in_the_middle_of_a_transaction(streaming: Streaming, key: NewKey) -> None:
    event_ids = {f"evt_{number:03}" for number in range(100)}
    async with streaming.listen(key) as ear:
        await streaming.publish(key, *sorted(event_ids))
        first = ids(await ear.several(37))
        cursor = ear.cursor
    await streaming.publish(key, "evt_after")
    async with streaming.listen(key, "", cursor=cursor) as ear:
        rest = ids(await ear.several(64))
    assert rest[-1] == "evt_after"
    assert sorted([*first, *rest[:-1]]) == sorted(event_ids)


async def test_a_stream_is_resumed_on_another_process_and_after_a_restart(
    streaming: Streaming, key: NewKey, database_url: str
) -> None:
    await streaming.endpoint(key)
    async with streaming.listen(key) as ear:
        await streaming.publish(key, "evt_1")
        await streaming.attempt(Reply(200, 1))
        assert [each.kind for each in await ear.several(2)] == ["event", "attempt"]
        cursor = ear.cursor
    await streaming.serving.aclose()
    async with streaming_on(database_url) as restarted:
        await restarted.publish(key, "evt_2")
        await restarted.attempt(Fault(Reason.TIMEOUT, 30))
        async with restarted.listen(key, cursor) as ear, streaming_on(database_url) as other:
            told = await ear.several(2)
            assert [each.data.get("id") or each.data["event_id"] for each in told] == ["evt_2", "evt_2"]
            async with other.listen(key, told[0].cursor) as there:
                assert (await there.next()).data == told[1].data
                await other.publish(key, "evt_3")
                assert ids([await there.next(), await ear.next()]) == ["evt_3", "evt_3"]


async def test_everything_is_told_once_however_small_the_pages(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what one statement reads, each bound ends a page; a listener leaves and comes back all the time."""
    monkeypatch.setattr(reading, "ROWS_MAX", 7)
    monkeypatch.setattr(reading, "SCANNED_MAX", 3)
    monkeypatch.setattr(reading, "BYTES_MAX", 3_000)
    await streaming.endpoint(key)
    other = await make_key(streaming.engine, OTHER)
    event_ids = [f"evt_{number:03}" for number in range(60)]

    async def work() -> None:
        for start in range(0, len(event_ids), 6):
            await streaming.publish(key, *event_ids[start : start + 6])
            await streaming.publish(other, *event_ids[start : start + 6])
            await streaming.attempt(Reply(200, 1))

    async with streaming.listen(key) as steady:
        cursor = steady.cursor
        working = asyncio.create_task(work())
        told: list[Told] = []
        while len(told) < 2 * len(event_ids):
            async with streaming.listen(key, cursor) as ear:
                told += await ear.several(min(11, 2 * len(event_ids) - len(told)))
                cursor = ear.cursor
        await working
        all_at_once = await steady.several(2 * len(event_ids))
    for each in (told, all_at_once):
        events = [one.data["id"] for one in each if one.kind == "event"]
        attempts = [one.data["event_id"] for one in each if one.kind == "attempt"]
        assert sorted(events) == sorted(attempts) == event_ids
        order = [one.data.get("id") or one.data["event_id"] for one in each]
        assert all(order.index(event_id) == _place_of(each, event_id) for event_id in event_ids)


def _place_of(told: list[Told], event_id: str) -> int:
    return next(place for place, each in enumerate(told) if each.data.get("id") == event_id)


@pytest.mark.parametrize(
    ("position", "is_of_this_server"),
    [
        (Position(Snapshot(2**40)), True),
        (Position(Snapshot(3)), True),
        (Position(Snapshot(4), server="7300000000000000001.1"), False),
        (Position(Snapshot(4)), False),  # as an earlier release wrote it
    ],
)
async def test_a_cursor_that_cannot_be_resumed_gets_a_gap(
    streaming: Streaming, key: NewKey, position: Position, *, is_of_this_server: bool
) -> None:
    """It is of another server, of one that was put back, or too old."""
    await streaming.publish(key, "evt_0")
    if is_of_this_server:
        position = msgspec.structs.replace(position, server=await streaming.value(f"SELECT {reading._SERVER}"))
    at = await streaming.value("SELECT now()") - timedelta(minutes=30 if position.seen.end == 3 else 0)
    async with streaming.listen(key, str(Cursor.at(at, position)), event_type="message.sent") as ear:
        gap = await ear.next()
        assert (gap.kind, gap.data["reason"]) == ("gap", "too_old")
        listed = await streaming.get(key, gap.data["events"])
        await streaming.get(key, gap.data["deliveries"])
        assert "event_type=message.sent" in gap.data["events"]
        if position.seen.end == 3:
            assert [each["id"] for each in listed["data"]] == ["evt_0"]
        await streaming.publish(key, "evt_1")
        assert ids([await ear.next()]) == ["evt_1"]
        cursor = gap.cursor
    async with streaming.listen(key, cursor) as ear:
        assert ids([await ear.next()]) == ["evt_1"]


async def test_after_a_failover_a_listener_is_told_of_a_gap_and_goes_on(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promoted server gives out transactions' ids that the lost one gave out, too."""
    async with streaming.listen(key) as ear:
        await streaming.publish(key, "evt_1")
        assert ids([await ear.next()]) == ["evt_1"]
        cursor = ear.cursor
        for name in ("_NOW", "_READ"):
            promoted = getattr(reading, name).replace(
                "system_identifier, greatest(", "system_identifier, 1 + greatest("
            )
            monkeypatch.setattr(reading, name, promoted)
        gap = await ear.next()
        assert (gap.kind, gap.data["reason"]) == ("gap", "too_old")
        await streaming.publish(key, "evt_2")
        assert ids([await ear.next()]) == ["evt_2"]
    async with streaming.listen(key, gap.cursor) as ear:
        assert ids([await ear.next()]) == ["evt_2"]
    async with streaming.listen(key, cursor) as ear:
        assert (await ear.next()).data["reason"] == "too_old"


async def test_a_past_that_cannot_be_read_in_time_is_too_much(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with streaming.listen(key) as ear:
        cursor = ear.cursor
    await streaming.publish(key, "evt_1")
    monkeypatch.setattr(past, "READ_SECONDS_MAX", 0.05)
    slowly = "CASE WHEN current_setting('statement_timeout') = '50ms' THEN pg_sleep(9) END AS slow"
    monkeypatch.setattr(reading, "_READ", reading._READ.replace("AS server,", f"AS server, {slowly},"))
    async with streaming.listen(key, cursor) as ear:
        gap = await ear.next()
        assert (gap.kind, gap.data["reason"]) == ("gap", "too_much")
        await streaming.publish(key, "evt_2")
        assert ids([await ear.next()]) == ["evt_2"]
    streaming.heard.happenings.clear()


async def test_the_past_ends_when_the_key_ends(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read, page after page, though nothing in it is for this listener."""
    monkeypatch.setattr(tail, "KEYS_SECONDS", 0.0)
    reader = await make_key(streaming.engine, MINE, ("read",))
    async with streaming.listen(reader) as ear:
        cursor = ear.cursor
    begun = asyncio.Event()

    async def endlessly(self: past.Past) -> None:
        begun.set()
        await asyncio.sleep(0)

    monkeypatch.setattr(past.Past, "read", endlessly)
    async with streaming.listen(reader, cursor) as ear:
        await begun.wait()
        await KeyStore(streaming.engine).revoke(reader.key_id, by=SOMEBODY)
        told = await ear.next()
        assert (told.kind, told.data) == ("closed", {"reason": "key_revoked"})


async def _told_all(stream: OpenStream, count: int) -> list[Message]:
    told: list[Message] = []
    while len(told) < count:
        told += await stream.take()
    return told


async def test_what_waits_of_the_past_is_bounded_and_nothing_of_it_is_left_out(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who come back take nothing at first: only one of them has what it missed kept for it meanwhile."""
    monkeypatch.setattr(streams, "ALL_WAITING_BYTES_MAX", 8_000_000)  # an organization may have half of it
    rested = asyncio.Event()

    async def pause(seconds: float) -> None:
        if seconds == past.ROOM_SECONDS:
            rested.set()
        await asyncio.sleep(seconds)

    around = Surroundings(SystemClock(), streaming.heard, lambda: 0.0, pause)
    desk = streams.Streams(StreamReader(streaming.engine), operation.row_json, around)
    wanted = Wanted(MINE, frozenset({What.EVENTS}))
    before = await desk.open(wanted, "", None)
    assert isinstance(before, streams.Stream)
    cursor = Cursor.read(before.cursor or "")
    before.leave()
    event_ids = [f"evt_{number:03}" for number in range(60)]
    await streaming.publish(key, *event_ids, size=20_000)  # twice in each message, 2.5 MB in all
    first, second = [await desk.open(wanted, "", cursor) for _ in range(2)]
    assert isinstance(first, streams.Stream)
    assert isinstance(second, streams.Stream)
    told = list(await first.take())
    assert 0 < sum(len(each.text) for each in told) < TAKEN_BYTES + 50_000
    waiting = asyncio.create_task(_told_all(second, len(event_ids)))
    await rested.wait()
    told += await _told_all(first, len(event_ids) - len(told))
    for each in (told, await waiting):
        assert sorted(json.loads(one.text)["id"] for one in each) == event_ids
    first.leave()
    second.leave()
    assert streaming.heard.happenings[-1] == StreamsOpen(0)
    await desk.end()


async def test_the_time_in_which_others_are_read_for_is_not_counted(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds come back at once after a restart, and two at a time are read for."""
    async with streaming.listen(key) as ear:
        cursor = ear.cursor
    await streaming.publish(key, "evt_1")
    clock = ManualClock(datetime.now(UTC))
    around = Surroundings(clock, streaming.heard, lambda: 0.0, asyncio.sleep)
    desk = streams.Streams(StreamReader(streaming.engine), operation.row_json, around)
    resumed = await desk.open(Wanted(MINE, frozenset({What.EVENTS})), "", Cursor.read(cursor))
    assert isinstance(resumed, streams.Stream)
    clock.advance(2 * past.READING_SECONDS_MAX)
    [told] = await resumed.take()
    assert json.loads(told.text)["id"] == "evt_1"
    resumed.leave()
    await desk.end()


async def test_nobody_joins_a_tail_that_has_ended(streaming: Streaming) -> None:
    around = Surroundings(SystemClock(), streaming.heard, lambda: 0.0, asyncio.sleep)
    ended = tail.Tail(reading.StreamReader(streaming.engine), lambda _: b"", around)
    await ended.end()
    with pytest.raises(UnavailableError):
        await ended.join(Listener(Wanted(MINE, {What.EVENTS}), "", Room(1)))


# ---------------------------------------------------------------------- slow readers, quiet streams, ends


async def test_a_slow_reader_gets_a_gap_and_goes_on_in_the_lists(streaming: Streaming, key: NewKey) -> None:
    slow_key = await make_key(streaming.engine, MINE, ("read",))
    event_ids = [f"evt_{number:03}" for number in range(80)]
    async with streaming.listen(slow_key, what="events") as slow, streaming.listen(key, what="events") as swift:
        publishing = asyncio.create_task(streaming.publish(key, *event_ids, size=200_000))
        assert sorted(ids(await swift.several(80))) == event_ids
        await publishing
        await until(
            lambda: any(isinstance(each, StreamGap) for each in streaming.heard.happenings), "the gap is noticed"
        )
        told: list[Told] = []
        while (each := await slow.next()).kind == "event":
            told.append(each)
        assert (each.kind, each.data["reason"], each.data["deliveries"]) == ("gap", "slow", None)
        listed: list[Any] = []
        page = await streaming.get(key, f"{each.data['events']}&limit=200")
        listed += page["data"]
        while page["has_more"]:
            page = await streaming.get(key, f"{each.data['events']}&limit=200&cursor={page['next_cursor']}")
            listed += page["data"]
        assert 0 < len(told) < len(event_ids)
        assert {*ids(told), *(each["id"] for each in listed)} == {*event_ids}
        await streaming.publish(key, "evt_after")
        assert ids([await slow.next()]) == ["evt_after"]


async def test_a_quiet_stream_lives_and_keeps_its_cursor_recent(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "COMMENT_SECONDS", 0.05)
    async with streaming.listen(key, event_type="link.clicked") as ear:
        first = Cursor.read(ear.cursor)
        await streaming.publish(key, "evt_1")  # which it is not told of
        recorded_in = int(await streaming.value("SELECT recorded_in::text FROM events"))
        assert first is not None
        assert first.position.since <= recorded_in

        async def is_past_it() -> bool:
            assert await ear.comment() == "nothing new"
            cursor = Cursor.read(ear.cursor)
            return cursor is not None and cursor.position.since > recorded_in

        await until(is_past_it, "comments carry the cursor")


async def test_a_stream_outlives_the_time_that_a_request_may_take_and_one_that_is_not_taken_does_not(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WORK_SECONDS_MAX", 5.0)
    monkeypatch.setattr(operation, "COMMENT_SECONDS", 0.5)
    async with streaming.listen(key, what="attempts") as ear:
        async with streaming.listen(key, what="events") as stuck:
            await streaming.publish(key, *(f"evt_{number}" for number in range(80)), size=200_000)
            for _ in range(15):
                assert await ear.comment() == "nothing new"
            await until(lambda: _open_count(streaming) == 1, "who takes nothing is disconnected")
            with pytest.raises((EOFError, ClientError)):
                await stuck.several(80)
        assert await ear.comment() == "nothing new"


def _open_count(streaming: Streaming) -> int:
    return [each.count for each in streaming.heard.happenings if isinstance(each, StreamsOpen)][-1]


async def test_a_service_that_stops_closes_its_streams_and_does_not_wait_for_them(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    del monkeypatch
    async with streaming.listen(key) as ear:
        await streaming.publish(key, "evt_1")
        await ear.next()
        stopping = asyncio.create_task(streaming.serving.aclose())
        told = await ear.next()
        assert (told.kind, told.data) == ("closed", {"reason": "shutdown"})
        with pytest.raises(EOFError):
            await ear.next()
        async with asyncio.timeout(listening.SHUTDOWN_SECONDS_MAX * 10):
            await stopping
    assert _open_count(streaming) == 0


async def test_a_service_that_stops_does_not_wait_for_who_takes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is on its way to the client than there is room for, so its last message cannot be sent."""
    monkeypatch.setattr(listening, "SHUTDOWN_SECONDS_MAX", 3600.0)
    async with streaming_on(database_url) as streaming:
        key = await make_key(streaming.engine, MINE)
        async with streaming.listen(key, what="events") as stuck:
            await streaming.publish(key, *(f"evt_{number}" for number in range(80)), size=200_000)
            await until(lambda: any(isinstance(each, StreamGap) for each in streaming.heard.happenings), "it is stuck")
            async with asyncio.timeout(60):
                await streaming.serving.aclose()
            assert _open_count(streaming) == 0
            with pytest.raises((EOFError, ClientError)):
                await stuck.several(80)


async def test_nothing_is_read_while_nobody_listens(
    streaming: Streaming, key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()
    run = tail.Tail._run

    async def noting(self: tail.Tail) -> None:
        await run(self)
        ended.set()

    monkeypatch.setattr(tail.Tail, "_run", noting)
    async with streaming.listen(key):
        assert not ended.is_set()
    async with asyncio.timeout(60):
        await ended.wait()
    async with streaming.listen(key) as ear:  # it begins anew
        await streaming.publish(key, "evt_1")
        assert ids([await ear.next()]) == ["evt_1"]


async def test_an_outage_of_the_database_costs_a_stream_nothing(database_url: str) -> None:
    url = make_url(database_url)
    relay = Relay(url.host or "127.0.0.1", url.port or 5432)
    await relay.open()
    through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
    async with streaming_on(through) as streaming:
        key = await make_key(streaming.engine, MINE)
        async with streaming.listen(key) as ear:
            await streaming.publish(key, "evt_1")
            assert ids([await ear.next()]) == ["evt_1"]
            await relay.close()
            await until(
                lambda: any(isinstance(each, Trouble) for each in streaming.heard.happenings), "the outage is noticed"
            )
            other = await asyncpg.connect(database_url)
            await other.execute(HELD, new_uid(), "evt_2", '{"id": "evt_2"}')
            await other.close()
            await relay.open()
            assert ids([await ear.next()]) == ["evt_2"]
        streaming.heard.happenings.clear()
    await relay.close()


async def test_the_tail_reads_by_transaction_alone(streaming: Streaming, key: NewKey) -> None:
    """Through an organization's own indexes it would read all that the organization ever had."""
    await streaming.publish(key, "evt_1")
    arguments = "NULL, '{}', '3', '0', 0, '00000000-0000-0000-0000-000000000000', 0, 0, 0, '{org_mine}', '{org_mine}'"
    async with driver(streaming.engine) as connection, connection.transaction():
        await connection.execute(reading._PLANNED_ONCE)
        await connection.execute(f"PREPARE tail AS {reading._READ}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE tail ({arguments}, 5000, 500, 4000000)")
        await connection.execute("DEALLOCATE tail")
    used = {found for row in rows for found in re.findall(r"using (\w+) on (?:events|attempts)", row[0])}
    assert not [row[0] for row in rows if "Seq Scan" in row[0]]
    assert used
    assert all("recorded_in" in each or "pkey" in each or "transaction" in each for each in used), used


async def test_days_that_are_not_indexed_yet_are_not_read_through(streaming: Streaming, key: NewKey) -> None:
    async with driver(streaming.engine) as connection:
        await connection.execute("ALTER INDEX attempts_by_transaction RENAME TO elsewhere")
    try:
        async with streaming.ask(key) as response:
            assert (response.status, (await response.json())["code"]) == (503, "UNAVAILABLE")
    finally:
        async with driver(streaming.engine) as connection:
            await connection.execute("ALTER INDEX elsewhere RENAME TO attempts_by_transaction")
    streaming.heard.happenings.clear()
