"""Whatever a receiver says is recorded: from its bytes on a socket to a row that PostgreSQL takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.adapters.exit.sender import HttpSender
from service.adapters.postgres.engine import connect
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from tests.contract.delivery_store_rig import Bench, InPostgres, claimed, lease_of
from tests.fakes.settlements import settled_by

pytestmark = [pytest.mark.clock, pytest.mark.servers]

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"),), allow_http=True)
ELSEWHERE = "https://elsewhere.example/"  # a 410 from there ends no subscription, so that the next example has one
A_GATE_AT_MOST = timedelta(hours=25).total_seconds()


class Books:
    """An endpoint in PostgreSQL, and what it has recorded of each reply."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._numbers = count()

    async def enter(self, reply: Reply | Fault) -> None:
        """Settle one delivery with this reply. It moves, and the attempt has its row."""
        await self._bench.database.pass_time(A_GATE_AT_MOST)
        recording = await self._bench.recording(id=f"evt_reply_{next(self._numbers)}", wants_lease=True)
        await self._bench.record(recording)
        settled = settled_by(claimed(lease_of(recording)), reply, target_url=ELSEWHERE)
        assert await self._bench.settle(settled) == [True], reply
        (attempt,) = await self._bench.attempts(settled.delivery.key)
        assert attempt.status == (reply.status if isinstance(reply, Reply) else None)
        assert (await self._bench.show(settled.delivery.key)).state is settled.settlement.state


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    engine = connect(database_url)
    bench = Bench(InPostgres(engine))
    await bench.administration.create_organization("org_1")
    await bench.endpoint()
    yield Books(bench)
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
