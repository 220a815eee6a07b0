"""Whatever a receiver says is recorded: from its bytes on a socket to a row that PostgreSQL takes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.adapters.exit.sender import HttpSender
from service.adapters.postgres.engine import connect
from service.adapters.system import SystemClock
from service.core.deliveries.delivery import State
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.store import Claimed
from tests.contract.stores.rig import Bench, InPostgres, ShownAttempt, claimed, lease_of
from tests.fakes.observer import RecordingObserver
from tests.fakes.settlements import LOST, settled_by

pytestmark = [pytest.mark.clock, pytest.mark.servers]

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"),), allow_http=True)
ELSEWHERE = "https://elsewhere.example/"  # a 410 from there ends no subscription, so that the next example has one
A_GATE_AT_MOST = timedelta(hours=25).total_seconds()


class Past(NamedTuple):
    """What a delivery has been through: attempts that counted, those that did not, leases lost in a row."""

    made: int = 0
    uncounted: int = 0
    lost: int = 0

    @property
    def recorded(self) -> int:
        return self.made + self.uncounted


NEW = Past()


class Books:
    """An endpoint in PostgreSQL, and what it has recorded of each reply."""

    def __init__(self, database: InPostgres) -> None:
        self._database = database
        self._bench = Bench(database)
        self._numbers = count()

    async def enter(self, reply: Reply | Fault, past: Past = NEW) -> None:
        """Settle one delivery with this reply. It moves, and the attempt has its row."""
        claim = await self.claim(past)
        settled = settled_by(claim, reply, target_url=ELSEWHERE)
        assert await self._bench.settle(settled) == [True], reply
        (attempt,) = await self._bench.attempts(claim.delivery.key)
        assert (attempt.number, attempt.status) == (past.recorded + 1, _status_of(reply))
        assert (await self._bench.show(claim.delivery.key)).state is settled.settlement.state

    async def enter_late(self, reply: Reply | Fault, past: Past) -> None:
        """The same, after the lease was lost and somebody settled that: only a success moves it, all have their row."""
        claim = await self.claim(past)
        await self._bench.database.pass_time(61)
        (rescued,) = await self._bench.store.rescue(1)
        settled = settled_by(claim, reply, target_url=ELSEWHERE)
        assert await self._bench.settle(settled_by(rescued, LOST)) == [True]
        is_success = settled.settlement.state is State.DELIVERED
        assert await self._bench.settle(settled) == [is_success]
        *_, attempt = await self._bench.attempts(claim.delivery.key)
        assert (attempt.claim_number, attempt.status, attempt.is_counted) == (1, _status_of(reply), is_success)

    async def claim(self, past: Past) -> Claimed:
        """A lease of a new delivery that looks back on this past."""
        await self._bench.database.pass_time(A_GATE_AT_MOST)
        recording = await self._bench.recording(id=f"evt_reply_{next(self._numbers)}", wants_lease=True)
        await self._bench.record(recording)
        claim = claimed(lease_of(recording))
        counters = {"attempts_made": past.made, "attempts_recorded": past.recorded, "lost_in_a_row": past.lost}
        await self._database.set_counters(claim.delivery.key, **counters)
        return replace(claim, delivery=replace(claim.delivery, **counters))

    async def leave_out(self, reply: Reply | Fault) -> tuple[State, Reason | None, Sequence[ShownAttempt]]:
        """Commit a reply as a worker does, though a column does not hold it; what became of the delivery."""
        settled = settled_by(await self.claim(NEW), reply, target_url=ELSEWHERE)
        observer = RecordingObserver()
        around = Surroundings(SystemClock(), observer, lambda: 0.0, asyncio.sleep)
        settle = Settle(self._bench.store, around, batch_max=10, unsettled_max=10)
        running = asyncio.create_task(settle.run())
        await settle.put(settled)
        await observer.until_settled(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [where for where, _, _ in observer.troubles] == ["settle"]
        shown = await self._bench.show(settled.delivery.key)
        return shown.state, shown.reason, await self._bench.attempts(settled.delivery.key)


def _status_of(reply: Reply | Fault) -> int | None:
    return reply.status if isinstance(reply, Reply) else None


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    engine = connect(database_url)
    database = InPostgres(engine)
    await database.administration.create_organization("org_1")
    await database.administration.add_endpoint("org_1", "https://a.example/", ["message.sent"])
    yield Books(database)
    await engine.dispose()


# The examples share the database: each has an event of its own.
shared = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
anything = st.text(st.characters(exclude_categories=()), max_size=40)
waits = (
    st.integers(-1, 10**30).map(str)
    | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.sampled_from(["", "1e9", "9" * 2048, "Thu, 31 Dec 9999 23:59:59 GMT", "٣", "inf"])
)
replies = st.builds(
    Reply,
    status=st.integers(0, 999),
    duration_ms=st.integers(0, 600_000),
    body=st.binary(max_size=2000),
    retry_after=st.lists(waits | anything, max_size=2).map(tuple),
    location=anything,
    is_second_connection=st.booleans(),
)
faults = st.builds(Fault, reason=st.sampled_from(Reason), duration_ms=st.integers(0, 600_000), detail=anything)


@shared
@given(replies | faults)
@example(Reply(0, 1))
@example(Reply(99, 1))
@example(Reply(503, 1, retry_after=("9" * 2048,)))
@example(Reply(302, 1, b"\0\xff\xed\xa0\x80", location="/\0\ud800"))
@example(Fault(Reason.PROTOCOL_ERROR, 1, "\0\udcff"))
async def test_every_reply_is_recorded(books: Books, reply: Reply | Fault) -> None:
    await books.enter(reply)


pasts = st.builds(Past, made=st.integers(0, 60), uncounted=st.integers(0, 10**6), lost=st.integers(0, 4))


@shared
@given(replies | faults, pasts)
@example(Reply(500, 1), Past(made=11))
@example(Fault(Reason.INTERNAL, 1), Past(uncounted=10**6))
async def test_every_reply_is_recorded_whatever_came_before(books: Books, reply: Reply | Fault, past: Past) -> None:
    await books.enter(reply, past)


@shared
@given(replies | faults, pasts)
@example(Reply(200, 1), NEW)
@example(Reply(410, 1), Past(lost=3))
async def test_every_reply_is_recorded_however_late(books: Books, reply: Reply | Fault, past: Past) -> None:
    await books.enter_late(reply, past)


@pytest.mark.parametrize(
    ("reply", "state", "reason"),
    [
        (Reply(204, 2**31, b"thanks"), State.DELIVERED, None),
        (Reply(500, 2**31, b"oh"), State.PENDING, Reason.HTTP_STATUS),
        (Reply(410, 2**31), State.CANCELLED, Reason.GONE),
        (Fault(Reason.TIMEOUT, 2**31), State.PENDING, Reason.TIMEOUT),
    ],
    ids=["204", "500", "410", "timeout"],
)
async def test_what_no_column_holds_is_left_out_and_all_else_is_recorded(
    books: Books, reply: Reply | Fault, state: State, reason: Reason | None
) -> None:
    """A machine that slept for 25 days during the request, say."""
    found_state, found_reason, (attempt,) = await books.leave_out(reply)
    assert (found_state, found_reason) == (state, reason)
    assert (attempt.number, attempt.reason, attempt.status, attempt.is_counted) == (1, reason, None, True)


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[Request]:
    """A receiver that answers with these bytes and hangs up; yields the POST to it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield Request(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, b"", 30.0)


octets = st.binary(max_size=40)


@shared
@given(st.integers(0, 999), octets, octets, octets, octets)
@example(0, b"Zero", b"", b"", b"")
@example(99, b"\xff\0", b"9" * 2000, b"/\0\xed\xa0\x80", b"\0\xff")
async def test_whatever_a_socket_says_is_recorded(
    books: Books, status: int, phrase: bytes, wait: bytes, place: bytes, body: bytes
) -> None:
    raw = b"HTTP/1.1 %03d %b\r\nRetry-After: %b\r\nLocation: %b\r\n\r\n%b" % (status, phrase, wait, place, body)
    async with answering(raw) as request, HttpSender(LOOPBACK) as sender:
        await books.enter(await sender.send(request))


@pytest.mark.parametrize("status", [0, 1, 99, 101, 599, 600, 999])
async def test_a_status_that_means_nothing_is_a_failure_with_that_status(books: Books, status: int) -> None:
    raw = b"HTTP/1.1 %03d X\r\nContent-Length: 0\r\n\r\n" % status
    async with answering(raw) as request, HttpSender(LOOPBACK) as sender:
        reply = await sender.send(request)
    assert isinstance(reply, Reply)
    assert reply.status == status
    await books.enter(reply)
