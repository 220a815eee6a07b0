"""A port's connections: nobody waits for ever, and whoever ends their requests gets through to the others' cost."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from aiohttp import web

from service.api.errors import ApiError
from service.api.validation import read_body
from service.app import connections, listening
from service.app.listening import listen
from tests.cli.command import free_port

SECONDS_MAX = 60.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UNENDED = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
LARGE = b"x" * 30_000_000  # more than a kernel holds for somebody who does not read


@dataclass
class Port:
    """A port with few connections, and what its handlers are doing."""

    number: int = field(default_factory=free_port)
    began: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    raised: asyncio.Queue[Exception] = field(default_factory=asyncio.Queue)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self.answer)
        app.router.add_get("/slow", self.wait)
        app.router.add_get("/large", self.large)
        app.router.add_get("/file", self.file)
        app.router.add_post("/", self.take)
        app.router.add_post("/refuse", self.refuse)
        return app

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(text="here")

    async def wait(self, _: web.Request) -> web.Response:
        self.began.put_nowait(None)
        await self.may_end.wait()
        return web.Response(text="done")

    async def large(self, _: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Written while it is handled, as a file that is made on the way is."""
        response = web.StreamResponse()
        await response.prepare(request)
        self.began.put_nowait(None)
        try:
            while True:
                await response.write(LARGE)
        except ConnectionError as error:
            self.raised.put_nowait(error)
            raise

    async def take(self, request: web.Request) -> web.Response:
        self.began.put_nowait(None)
        try:
            return web.Response(text=f"took {len(await read_body(request))}")
        except Exception as error:
            self.raised.put_nowait(error)
            raise

    async def refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=401, text="no")

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(sent)
        return reader, writer

    async def ask(self, sent: bytes = GET) -> bytes:
        """Everything that is said to these bytes until the connection is closed, which the last request asks for."""
        reader, writer = await self.connect(sent)
        return await everything(reader, writer)


async def everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    said = b""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while more := await reader.read(65_536):
                said += more
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()  # closing alone would outlive the test, waiting for what nobody takes any more
        with suppress(ConnectionError):
            await writer.wait_closed()
    return said


LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@asynccontextmanager
async def port_of(connections_max: int) -> AsyncIterator[Port]:
    port = Port()
    async with AsyncExitStack() as stack:
        await listen(stack, port.application(), "127.0.0.1", port.number, connections_max=connections_max)
        stack.callback(port.may_end.set)
        yield port


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience with anybody."""
    for name in ("HEAD_SECONDS_MAX", "IDLE_SECONDS_MAX", "BODY_SECONDS_MAX", "SWEEP_SECONDS"):
        monkeypatch.setattr(connections, name, 0.02)


def on_each_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario())  # type: ignore[arg-type] # they are coroutines


# ---------------------------------------------------------------------- a bounded number


async def strangers_and_a_client(connections_max: int, strangers: int) -> None:
    async with port_of(connections_max) as port:
        opened = [await port.connect(UNENDED if number % 2 else b"") for number in range(strangers)]
        assert b"here" in await port.ask(LAST)
        ended = [everything(*each) for each in opened[: strangers - connections_max]]
        for said in await asyncio.gather(*ended):  # the first that came were the first to go, and were told why
            assert said == b"" or said.startswith(b"HTTP/1.1 503 ")
        for _, writer in opened:
            writer.close()


def test_a_client_gets_through_thousands_who_never_end_their_heads() -> None:
    on_each_loop(lambda: strangers_and_a_client(connections_max=50, strangers=400))


async def test_whoever_is_turned_away_is_told_when_to_come_again() -> None:
    async with port_of(1) as port:
        first = await port.connect(UNENDED)
        second = await port.connect(UNENDED)
        said = await everything(*first)
        second[1].close()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 1" in head
    assert json.loads(body)["code"] == "UNAVAILABLE"


async def test_a_request_that_is_being_handled_makes_room_for_nobody() -> None:
    async with port_of(2) as port:
        busy = [await port.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for _ in range(2)]
        for _ in busy:
            await port.began.get()
        assert (await port.ask(LAST)).startswith(b"HTTP/1.1 503 ")
        port.may_end.set()
        for each in busy:
            assert b"done" in await everything(*each)
        assert b"here" in await port.ask(LAST)


async def test_an_answer_that_is_being_written_and_nobody_takes_makes_room() -> None:
    async with port_of(connections_max=1) as port:
        _, writer = await port.connect(GET.replace(b"/", b"/file", 1))
        await port.began.get()
        assert b"here" in await port.ask(LAST)
        async with asyncio.timeout(SECONDS_MAX):
            assert isinstance(await port.raised.get(), ConnectionError)
        writer.transport.abort()


async def test_bodies_that_never_come_make_room() -> None:
    async with port_of(3) as port:
        owing = [await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234") for _ in range(5)]
        assert b"here" in await port.ask(LAST)
        for _, writer in owing:
            writer.close()


async def test_the_idle_give_way_after_those_who_never_asked() -> None:
    async with port_of(2) as port:
        idle = await port.connect(GET)
        assert b"here" in await idle[0].readuntil(b"here")
        stranger = await port.connect(UNENDED)
        assert b"here" in await port.ask(LAST)
        assert (await everything(*stranger)).startswith(b"HTTP/1.1 503 ")
        idle[1].write(LAST)
        assert b"here" in await everything(*idle)


async def test_the_idle_give_way_to_many_who_come_at_once() -> None:
    async with port_of(40) as port:
        idle = [await port.connect(GET) for _ in range(40)]
        for reader, _ in idle:
            assert b"here" in await reader.readuntil(b"here")
        come = [await port.connect(LAST[:9]) for _ in range(20)]
        for _, writer in come:
            writer.write(LAST[9:])
        for said in await asyncio.gather(*(everything(*each) for each in come)):
            assert b"here" in said
        for _, writer in idle:
            writer.close()


async def test_a_body_that_comes_does_not_give_way_to_strangers() -> None:
    async with port_of(2) as port:
        reader, writer = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        await port.began.get()
        strangers = [await port.connect(UNENDED)]
        for _ in range(100):
            writer.write(b"x" * 10)
            await writer.drain()
            assert b"here" in await port.ask(LAST)  # by now the piece has been read; a stranger made room
            strangers.append(await port.connect(UNENDED))
        writer.write(LAST)
        assert b"took 1000" in await everything(reader, writer)
        for _, each in strangers:
            each.close()


# ---------------------------------------------------------------------- a bounded time


@pytest.mark.parametrize("sent", [b"", b"GET / HT", UNENDED], ids=["nothing", "half a line", "half a head"])
async def test_a_head_that_never_ends_is_given_up(hurried: None, sent: bytes) -> None:
    async with port_of(9) as port:
        said = await port.ask(sent)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"REQUEST_TIMEOUT"' in said


async def test_a_head_that_comes_in_drops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS_MAX", 0.2)
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.02)

    async def drip(port: Port, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"a")
            assert b"here" in await port.ask(LAST)

    async with port_of(9) as port:
        reader, writer = await port.connect(UNENDED)
        dripping = asyncio.create_task(drip(port, writer))
        said = await everything(reader, writer)
        dripping.cancel()
    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [GET, GET + UNENDED], ids=["idle", "half of the next head"])
async def test_an_answered_connection_is_given_up(hurried: None, sent: bytes) -> None:
    async with port_of(9) as port:
        assert b"here" in await port.ask(sent)


async def test_a_body_that_never_comes_is_given_up(hurried: None) -> None:
    async with port_of(9) as port:
        assert b"took" not in await port.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234")


async def test_a_response_that_nobody_takes_is_given_up(hurried: None) -> None:
    async with port_of(1) as port:
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.setblocking(False)  # noqa: FBT003
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port.number))
            await asyncio.get_running_loop().sock_sendall(raw, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(SECONDS_MAX):
                while True:  # until it is reset, with the response still on its way
                    try:
                        await asyncio.get_running_loop().sock_sendall(raw, b"\r\n")
                    except ConnectionError:
                        break
                    await asyncio.sleep(0)


# ---------------------------------------------------------------------- a bounded memory


@pytest.mark.parametrize("line", [b"X-%d: " + b"a" * 4_000, b"X-%d: b"], ids=["some long lines", "many short lines"])
async def test_a_head_is_not_large(line: bytes) -> None:
    async with port_of(9) as port:
        lines = b"".join(line % number + b"\r\n" for number in range(4_000))
        said = await port.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines)
    assert not said or said.split()[1] in {b"431", b"400"}  # a reset may overtake the answer


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET  / \r\n\r\n"])
async def test_what_cannot_be_read_gets_an_answer_and_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with port_of(9) as port:
        head, _, body = (await port.ask(sent)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert json.loads(body)["code"] == "VALIDATION_ERROR"
    assert not caplog.records


@pytest.mark.parametrize("sent", [LAST, LAST.replace(b"/ ", b"/nowhere ", 1), b"\x16\x03\x01\r\n\r\n"])
async def test_no_answer_tells_what_we_run_on(sent: bytes) -> None:
    async with port_of(9) as port:
        head, _, _ = (await port.ask(sent)).partition(b"\r\n\r\n")
    assert [line for line in head.split(b"\r\n") if line.lower().startswith(b"server:")] == [b"Server: posthorn"]


async def test_pipelined_requests_are_answered_in_order_and_few_wait() -> None:
    async with port_of(9) as port:
        first = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        reader, writer = await port.connect(first + GET * 200 + LAST)
        await port.began.get()
        port.may_end.set()
        said = await everything(reader, writer)
    assert said.index(b"done") < said.index(b"here")
    assert said.count(b"here") == 201


# ---------------------------------------------------------------------- and everybody else


async def test_what_was_sent_in_vain_is_answered_all_the_same() -> None:
    async with port_of(9) as port:
        body = b"x" * 1_000_000
        head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        said = await port.ask(head % len(body) + body + LAST)
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"here" in said


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_trouble_of_ours() -> None:
    async with port_of(9) as port, asyncio.timeout(SECONDS_MAX):
        _, writer = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234")
        await port.began.get()
        writer.transport.abort()
        error = await port.raised.get()
    assert isinstance(error, ApiError)
    assert error.status == 400


async def test_a_body_in_many_pieces_is_taken() -> None:
    async with port_of(9) as port:
        reader, writer = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 1_000)
            await writer.drain()
        writer.write(LAST)
        said = await everything(reader, writer)
    assert b"took 50000" in said
    assert b"here" in said


async def test_stopping_does_not_wait_for_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SHUTDOWN_SECONDS_MAX", 0.02)
    async with asyncio.timeout(SECONDS_MAX):
        async with port_of(9) as port:
            there: list[Any] = [await port.connect(sent) for sent in (b"", UNENDED, GET)]
            there.append(await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234"))
            assert b"here" in await there[2][0].readuntil(b"here")
        for reader, writer in there:
            await everything(reader, writer)


async def test_a_connection_that_is_being_accepted_when_the_port_closes_is_closed() -> None:
    """Between accepting it and having a transport for it, asyncio's server may be closed, and forgets it then."""
    loop, accepting = asyncio.get_running_loop(), asyncio.Event()

    def note(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if coroutine.__name__ == "_accept_connection2":
            accepting.set()  # who waits for this has its turn before the task does
        return asyncio.Task(coroutine, loop=loop, **options)

    async with port_of(9) as port:
        client = socket.create_connection(("127.0.0.1", port.number))  # the kernel answers
        loop.set_task_factory(note)
        await accepting.wait()
        loop.set_task_factory(None)
    with client, contextlib.suppress(ConnectionResetError):
        client.setblocking(False)  # noqa: FBT003
        async with asyncio.timeout(SECONDS_MAX):
            assert await loop.sock_recv(client, 1) == b""
