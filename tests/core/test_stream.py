"""Cursors of the stream: what a listener gives back is what it was given, and nothing else is taken."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

import hypothesis
from hypothesis import strategies

from service.core.stream.position import OF_ATTEMPT, OF_EVENT, Cursor, Place, Position, Snapshot, end_of

NUMBERS = strategies.integers(0, 2**31 - 1)
TRANSACTIONS = strategies.integers(3, 2**62)


@strategies.composite
def snapshots(draw: strategies.DrawFn) -> Snapshot:
    end = draw(TRANSACTIONS)
    return Snapshot(end, tuple(sorted(draw(strategies.sets(strategies.integers(0, end - 1), max_size=20)))))


PLACES = strategies.builds(
    Place, TRANSACTIONS, strategies.sampled_from([OF_EVENT, OF_ATTEMPT]), strategies.uuids(), NUMBERS, NUMBERS, NUMBERS
)
SERVERS = strategies.sampled_from(["", "7300000000000000001.12"])
POSITIONS = strategies.builds(Position, snapshots(), server=SERVERS) | strategies.builds(
    Position, snapshots(), snapshots(), PLACES, SERVERS
)


@hypothesis.given(strategies.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)), POSITIONS)  # noqa: DTZ001
def test_a_cursor_is_read_as_it_was_written(at: datetime, position: Position) -> None:
    cursor = Cursor.at(at.replace(tzinfo=UTC), position)
    assert Cursor.read(str(cursor)) == cursor
    assert str(cursor).isascii()
    assert "\n" not in str(cursor)


@hypothesis.given(strategies.text() | strategies.binary().map(lambda found: urlsafe_b64encode(found).decode()))
def test_whatever_else_comes_is_no_cursor_or_a_whole_one(text: str) -> None:
    cursor = Cursor.read(text)
    assert cursor is None or Cursor.read(str(cursor)) == cursor


@hypothesis.given(POSITIONS, strategies.data())
def test_a_cursor_that_was_cut_or_changed_is_none_or_a_whole_one(
    position: Position, data: strategies.DataObject
) -> None:
    text = str(Cursor.at(datetime(2026, 11, 22, tzinfo=UTC), position))
    raw = bytearray(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[data.draw(strategies.integers(0, len(raw) - 1))] = data.draw(strategies.integers(0, 255))
    cut = bytes(raw[: data.draw(strategies.integers(0, len(raw)))])
    cursor = Cursor.read(urlsafe_b64encode(cut).decode())
    if cursor is not None:
        running = cursor.position.seen.running
        assert list(running) == sorted(set(running))
        assert all(each < cursor.position.seen.end for each in running)


def test_a_snapshot_is_as_postgresql_writes_it() -> None:
    for text in ("10:10:", "10:20:10,14,15", "7:9:7"):
        assert str(Snapshot.read(text)) == text
    snapshot = Snapshot.read("10:20:10,14,15")
    assert [each for each in range(8, 22) if not snapshot.sees(each)] == [10, 14, 15, 20, 21]


def test_there_may_be_more_of_what_was_running_and_of_what_began_since() -> None:
    seen, until, uid = Snapshot(20, (10, 14)), Snapshot(30, (25,)), UUID(int=1)
    begun = Position(seen)
    assert (begun.late, begun.since) == ([10, 14], 20)
    among_late = Position(seen, until, Place(14, OF_EVENT, uid))
    assert (among_late.late, among_late.since) == ([14], 20)
    further = Position(seen, until, Place(23, OF_ATTEMPT, uid, 1))
    assert (further.late, further.since) == ([], 23)
    past_it = Position(seen, until, end_of(23))
    assert (past_it.late, past_it.since) == ([], 24)


def test_an_event_comes_before_its_attempts() -> None:
    uid = UUID(int=5)
    places = [Place(7, OF_ATTEMPT, UUID(int=1), 1, 0, 1), Place(7, OF_EVENT, uid), end_of(6), Place(6, OF_ATTEMPT, uid)]
    assert sorted(places) == [places[3], places[2], places[1], places[0]]
