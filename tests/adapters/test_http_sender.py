"""The sender against real sockets on loopback: hostile replies, stale connections, and addresses it must not touch."""

import asyncio
import errno
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from service.adapters.exit import sender as http_sender
from service.adapters.exit.dialer import GuardedResolver
from service.adapters.exit.reply import REPLY_BODY_BYTES_MAX
from service.adapters.exit.sender import HttpSender
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import ADDRESS_REFUSED, EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from service.ports.observer import AddressBlocked
from tests.adapters.receiver import HEADERS, OK, Answer, Names, Receiver

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")), allow_http=True)
SHIPPED = EgressPolicy(allow_http=True)


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(LOOPBACK) as sender:
        yield sender


def closing(raw: bytes) -> Answer:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    return answer


# ------------------------------------------------------------------ what goes out, what comes back


async def test_the_request_is_exactly_what_was_asked_for(sender: HttpSender) -> None:
    async with Receiver(OK) as receiver:
        reply = await sender.send(receiver.post("/hook%7e/../x?q=a+b%20c"))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body, reply.is_second_connection) == (200, b"ok", False)
    assert receiver.posts == [
        b"POST /hook%7e/../x?q=a+b%20c HTTP/1.1\r\n"
        + f"Host: 127.0.0.1:{receiver.port}\r\n".encode()
        + b"Accept-Encoding: identity\r\nContent-Type: application/json\r\nUser-Agent: Posthorn/0.1.0\r\n"
        + b'webhook-id: evt_1\r\nContent-Length: 7\r\n\r\n{"a":1}'
    ]


async def test_a_request_without_headers_keeps_its_shape(sender: HttpSender) -> None:
    async with Receiver(OK) as receiver:
        await sender.send(Request(receiver.post().url, {}, b"", 5.0))
    assert receiver.posts[0].endswith(b"\r\nAccept-Encoding: identity\r\nContent-Length: 0\r\n\r\n")


async def test_connections_are_kept_alive_and_nothing_queues_for_one(sender: HttpSender) -> None:
    async with Receiver(OK) as receiver:
        for _ in range(5):
            await sender.send(receiver.post())
        assert receiver.accept_count == 1
        await asyncio.gather(*(sender.send(receiver.post(f"/{number}")) for number in range(150)))
        assert len(receiver.posts) == 155
        assert receiver.accept_count > 100


async def test_of_many_hosts_the_connections_used_last_are_kept() -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(HttpSender(LOOPBACK, idle_max=3))
        receivers = [await stack.enter_async_context(Receiver(OK)) for _ in range(6)]
        for receiver in receivers:
            assert isinstance(await sender.send(receiver.post()), Reply)
        for receiver in receivers[:3]:
            await receiver.until_hung_up()
        for receiver in receivers:
            assert isinstance(reply := await sender.send(receiver.post()), Reply)
            assert not reply.is_second_connection, "a connection that we closed ourselves is not taken for a stale one"
        assert [receiver.accept_count for receiver in receivers] == [2, 2, 2, 2, 2, 2]


async def test_an_empty_path_and_an_ipv6_host(sender: HttpSender) -> None:
    async with Receiver(OK, host="::1") as receiver:
        await sender.send(receiver.post("?x=1", host="[::1]"))
    assert receiver.posts[0].startswith(f"POST /?x=1 HTTP/1.1\r\nHost: [::1]:{receiver.port}\r\n".encode())


async def test_location_and_every_retry_after_are_reported(sender: HttpSender) -> None:
    raw = b"HTTP/1.1 503 No\r\nRetry-After: 5\r\nretry-after: 7\r\nLocation: /\xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    async with Receiver(raw) as receiver:
        reply = await sender.send(receiver.post())
    assert isinstance(reply, Reply)
    assert (reply.status, reply.retry_after, reply.location) == (503, ("5", "7"), "/\ufffd\u00e9")
    assert reply.headers == (
        (b"Retry-After", b"5"),
        (b"retry-after", b"7"),
        (b"Location", b"/\xff\xc3\xa9"),
        (b"Content-Length", b"0"),
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(sender: HttpSender, status: int) -> None:
    async with Receiver(OK) as second:
        raw = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{second.port}/\r\nContent-Length: 0\r\n\r\n"
        async with Receiver(raw.encode()) as first:
            reply = await sender.send(first.post())
        assert isinstance(reply, Reply)
        assert (reply.status, reply.location) == (status, f"http://127.0.0.1:{second.port}/")
        assert second.accept_count == 0


async def test_cookies_do_not_come_back(sender: HttpSender) -> None:
    raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: tenant=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with Receiver(raw) as receiver:
        await sender.send(receiver.post("/tenant-1"))
        await sender.send(receiver.post("/tenant-2"))
    assert b"cookie" not in receiver.posts[1].lower()


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(OK) as proxy, Receiver(OK) as receiver, HttpSender(LOOPBACK) as sender:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        reply = await sender.send(receiver.post())
        assert isinstance(reply, Reply)
        assert (proxy.accept_count, receiver.accept_count) == (0, 1)


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b", "caf\u00e9"])
async def test_a_header_that_would_break_the_request_is_our_fault_and_is_not_sent(
    sender: HttpSender, value: str
) -> None:
    async with Receiver(OK) as receiver:
        request = receiver.post()
        fault = await sender.send(Request(request.url, HEADERS | {"x-custom": value}, b"", 5.0))
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.INTERNAL
        assert receiver.accept_count == 0


# ------------------------------------------------------------------ hostile replies

MALFORMED = {
    "not HTTP": b"hello world\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.9": b"HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "bad content-length": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nhi",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
    "half a status line": b"HTTP/1.1 20",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no blank line": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "header without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 300 + b"\r\n",
    "too many interim replies": b"HTTP/1.1 102 Processing\r\n\r\n" * 9 + OK,
    "a space in a name": b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_reply_has_no_status(sender: HttpSender, raw: bytes) -> None:
    async with Receiver(closing(raw)) as receiver:
        fault = await sender.send(receiver.post())
        assert isinstance(fault, Fault), fault
        assert fault.reason is Reason.PROTOCOL_ERROR
        assert len(receiver.posts) == 1


BROKEN_BODIES = {
    "short": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"hi"),
    "short chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhi"),
    "bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"),
    "not gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n", b"hi"),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\n", b"hi"),
    "none at all": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b""),
}


@pytest.mark.parametrize(("head", "body"), BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
async def test_a_status_counts_whatever_the_body_then_does(sender: HttpSender, head: bytes, body: bytes) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        for _turn in range(20):  # lets the sender see the head first
            await asyncio.sleep(0)
        writer.write(body)
        writer.close()

    async with Receiver(answer) as receiver:
        reply = await sender.send(receiver.post())
        assert isinstance(reply, Reply), reply
        assert reply.status == 200
        assert reply.body in {b"", b"hi"}
        assert reply.duration_ms < 10_000
        assert isinstance(await sender.send(receiver.post()), Reply)
        assert receiver.accept_count == 2  # the broken connection was not used again


@pytest.mark.parametrize("status", [99, 101, 204, 299, 304, 410, 500, 999])
async def test_strange_statuses_are_facts_too(sender: HttpSender, status: int) -> None:
    raw = f"HTTP/1.1 {status:03d} X\r\nContent-Length: 0\r\n\r\n".encode()
    async with Receiver(closing(raw)) as receiver:
        reply = await sender.send(receiver.post())
    assert isinstance(reply, Reply)
    assert reply.status == status


async def test_interim_replies_are_read_past(sender: HttpSender) -> None:
    async with Receiver(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK) as receiver:
        reply = await sender.send(receiver.post())
    assert isinstance(reply, Reply)
    assert reply.status == 200


async def test_an_endless_reply_is_cut_off_and_memory_stays_flat(sender: HttpSender) -> None:
    has_hung_up = asyncio.Event()

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        try:
            while True:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            has_hung_up.set()
            raise

    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        has_hung_up.clear()
        tracemalloc.start()
        reply = await sender.send(receiver.post())
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await has_hung_up.wait()
    assert isinstance(reply, Reply)
    assert reply.body == b"a" * REPLY_BODY_BYTES_MAX
    assert peak_bytes < 4_000_000  # both ends of the connection live in this process


async def test_a_compressed_reply_is_not_unpacked(sender: HttpSender) -> None:
    packed = b"\x1f\x8b" + b"\0" * 600
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with Receiver(head + packed) as receiver:
        reply = await sender.send(receiver.post())
    assert isinstance(reply, Reply)
    assert reply.body == packed


async def test_a_long_reply_that_ends_keeps_its_first_16_kib(sender: HttpSender) -> None:
    body = bytes(range(256)) * 80
    async with Receiver(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body) as receiver:
        reply = await sender.send(receiver.post())
    assert isinstance(reply, Reply)
    assert reply.body == body[:REPLY_BODY_BYTES_MAX]


async def test_what_a_server_says_unasked_is_no_reply_to_the_next_post(sender: HttpSender) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if number == 1:
            await writer.drain()
            for _turn in range(20):
                await asyncio.sleep(0)
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
            spoken.set()

    spoken = asyncio.Event()
    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        await spoken.wait()
        for _turn in range(20):
            await asyncio.sleep(0)
        reply = await sender.send(receiver.post())
        assert isinstance(reply, Reply)
        assert (reply.status, receiver.accept_count) == (200, 2)


# ------------------------------------------------------------------ time


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\nX: ", b""])
async def test_the_deadline_covers_a_server_that_never_finishes_its_header(sender: HttpSender, drip: bytes) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(drip)
        while drip:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    async with Receiver(answer) as receiver:
        fault = await sender.send(receiver.post(seconds=0.15))
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.TIMEOUT
        assert 140 <= fault.duration_ms < 10_000


def _hold_the_loop_up(seconds: float) -> None:
    until = monotonic() + seconds
    while monotonic() < until:
        pass


@pytest.mark.parametrize(("limit_seconds", "reason"), [(60.0, None), (0.3, Reason.INTERNAL)])
async def test_time_in_which_our_loop_is_held_up_is_not_the_receivers(
    sender: HttpSender, limit_seconds: float, reason: Reason | None
) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        _hold_the_loop_up(0.6)
        if reason is None:
            writer.write(OK)
        else:
            await asyncio.Event().wait()

    async with Receiver(answer) as receiver:
        request = receiver.post(seconds=0.3)
        reply = await sender.send(Request(request.url, HEADERS, request.body, 0.3, limit_seconds))
    if reason is None:
        assert isinstance(reply, Reply), reply
    else:
        assert isinstance(reply, Fault)
        assert reply.reason is reason
        assert "held up" in reply.detail


async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing(
    sender: HttpSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped between its look at the lease and the write: by now another worker may be sending this."""
    async with Receiver(OK) as receiver:
        request = receiver.post(seconds=5)
        assert isinstance(await sender.send(request), Reply)
        connector = sender._connector
        assert connector is not None
        connect = connector.connect

        async def stopped(*arguments: Any) -> Any:
            connection = await connect(*arguments)  # kept alive, so without a turn of the event loop
            _hold_the_loop_up(0.4)
            return connection

        monkeypatch.setattr(connector, "connect", stopped)
        reply = await sender.send(Request(request.url, HEADERS, request.body, 0.3, 0.3))
        assert isinstance(reply, Fault)
        assert reply.reason is Reason.INTERNAL
        assert len(receiver.posts) == 1


async def test_a_body_that_drips_past_the_deadline_leaves_the_status_standing(sender: HttpSender) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Receiver(answer) as receiver:
        reply = await sender.send(receiver.post(seconds=0.5))
        assert isinstance(reply, Reply)
        assert reply.status == 200
        assert set(reply.body) == {ord("a")}
        assert 490 <= reply.duration_ms < 10_000


async def test_the_deadline_covers_dns_connect_and_tls(sender: HttpSender) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:  # accepts, and never says a word of TLS
        port = silent.getsockname()[1]
        fault = await sender.send(Request(f"https://127.0.0.1:{port}/", HEADERS, b"", 0.15))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.TIMEOUT


async def test_cancellation_passes_through_and_hangs_up(sender: HttpSender) -> None:
    arrived = asyncio.Event()

    async def answer(_: int, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with Receiver(answer) as receiver:
        task = asyncio.create_task(sender.send(receiver.post()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_closing_the_sender_is_our_fault_and_for_good() -> None:
    arrived = asyncio.Event()

    async def answer(_: int, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    sender = HttpSender(LOOPBACK)
    async with Receiver(answer) as receiver:
        under_way = asyncio.create_task(sender.send(receiver.post()))
        await arrived.wait()
        await sender.close()
        for fault in (await under_way, await sender.send(receiver.post())):
            assert isinstance(fault, Fault)
            assert (fault.reason, fault.detail) == (Reason.INTERNAL, "the sender was closed")
        assert receiver.accept_count == 1


async def test_a_reply_before_the_body_is_read_counts_and_the_connection_does_not(sender: HttpSender) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        closers.append(writer)

    closers: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=256) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            reply = await sender.send(Request(url, HEADERS, b"a" * 20_000_000, 5.0))
            assert isinstance(reply, Reply)
            assert (reply.status, reply.is_second_connection) == (413, False)
        assert len(closers) == 2
        for writer in closers:
            writer.close()


# ------------------------------------------------------------------ stale connections


async def test_a_stale_connection_is_tried_again_once_on_a_fresh_one(sender: HttpSender) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 2:
            writer.close()
        else:
            writer.write(OK)

    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        reply = await sender.send(receiver.post())
        assert isinstance(reply, Reply)
        assert (reply.status, reply.is_second_connection) == (200, True)
        assert (len(receiver.posts), receiver.accept_count) == (3, 2)
        assert receiver.posts[1] == receiver.posts[2]


async def test_a_connection_that_was_asked_to_close_is_not_used_again(sender: HttpSender) -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)  # without a word of closing, as Python's http.server does
        writer.close()

    async with Receiver(answer) as receiver:
        asked = replace(receiver.post(), headers={**HEADERS, "Connection": "close"})
        for each in (asked, replace(asked, pause_seconds=0.01)):
            reply = await sender.send(each)
            assert isinstance(reply, Reply)
            assert (reply.status, reply.is_kept_connection, reply.is_second_connection) == (200, False, False)
        assert (len(receiver.posts), receiver.accept_count) == (2, 2)


@pytest.mark.parametrize("raw", [b"", OK])
def test_who_leaves_in_the_middle_of_a_body_is_heard_until_then(raw: bytes) -> None:
    """On uvloop, whose transports refuse what is written to a connection that has ended."""

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async def send() -> Reply | Fault:
        server = await asyncio.start_server(leave, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        request = Request(f"http://127.0.0.1:{port}/", HEADERS, b"{}", 5.0, pause_seconds=0.3)
        async with server, HttpSender(LOOPBACK) as sender:
            return await sender.send(request)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(send())
    if raw:
        assert isinstance(found, Reply)
        assert found.status == 200
    else:
        assert isinstance(found, Fault)
        assert found.reason is Reason.CONNECT_RESET


async def test_a_stale_connection_is_tried_again_once_only(sender: HttpSender) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(OK)
        else:
            writer.close()

    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        fault = await sender.send(receiver.post())
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.is_second_connection) == (Reason.CONNECT_RESET, True)
        assert (len(receiver.posts), receiver.accept_count) == (3, 2)


async def test_the_second_connection_is_fresh_however_many_are_idle(sender: HttpSender) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number <= 3:
            held.append(writer)
            if len(held) == 3:
                for each in held:
                    each.write(OK)
        elif receiver.accept_count == 3:
            writer.close()
        else:
            writer.write(OK)

    held: list[asyncio.StreamWriter] = []
    async with Receiver(answer) as receiver:
        await asyncio.gather(*(sender.send(receiver.post()) for _ in range(3)))
        assert receiver.accept_count == 3
        reply = await sender.send(receiver.post())
        assert isinstance(reply, Reply)
        assert (reply.status, reply.is_second_connection) == (200, True)
        assert (len(receiver.posts), receiver.accept_count) == (5, 4)


async def test_a_fresh_connection_that_closes_is_not_tried_again(sender: HttpSender) -> None:
    async with Receiver(closing(b"")) as receiver:
        fault = await sender.send(receiver.post())
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.is_second_connection) == (Reason.CONNECT_RESET, False)
        assert len(receiver.posts) == 1


@pytest.mark.parametrize("raw", [b"HTTP/1.1 20", b"HTTP/1.1 100 Continue\r\n\r\n", b"rubbish\r\n\r\n"])
async def test_a_single_byte_of_reply_forbids_the_second_try(sender: HttpSender, raw: bytes) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if number == 1 else raw)
        if number > 1:
            writer.close()

    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        fault = await sender.send(receiver.post())
        assert isinstance(fault, Fault)
        assert fault.reason in {Reason.PROTOCOL_ERROR, Reason.CONNECT_RESET}
        assert not fault.is_second_connection
        assert len(receiver.posts) == 2


async def test_the_second_try_keeps_to_the_same_deadline(sender: HttpSender) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(OK)
        elif number == 2:
            await asyncio.sleep(0.7)
            writer.close()
        else:
            await asyncio.Event().wait()

    async with Receiver(answer) as receiver:
        await sender.send(receiver.post())
        fault = await sender.send(receiver.post(seconds=1.0))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.is_second_connection) == (Reason.TIMEOUT, True)
        assert 990 <= fault.duration_ms < 1690  # one of its own would end then


# ------------------------------------------------------------------ faults


async def test_a_refused_connection(sender: HttpSender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    fault = await sender.send(Request(f"http://127.0.0.1:{port}/", HEADERS, b"", 5.0))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.CONNECT_REFUSED


async def test_a_name_that_does_not_resolve(sender: HttpSender) -> None:
    fault = await sender.send(Request("http://no-such-host.invalid/", HEADERS, b"", 5.0))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.DNS


async def test_running_out_of_sockets_is_our_fault(monkeypatch: pytest.MonkeyPatch, sender: HttpSender) -> None:
    def no_sockets(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(http_sender, "socket_factory", lambda *_: no_sockets)
    fault = await sender.send(Request("http://127.0.0.1:8080/", HEADERS, b"", 5.0))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.INTERNAL
    assert "Too many open files" in fault.detail


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("File descriptor 7 is used by transport"), KeyError(1)])
async def test_the_unexpected_is_our_fault(
    monkeypatch: pytest.MonkeyPatch, sender: HttpSender, error: Exception
) -> None:
    def broken(*_: object) -> socket.socket:
        raise error

    monkeypatch.setattr(http_sender, "socket_factory", lambda *_: broken)
    fault = await sender.send(Request("http://127.0.0.1:8080/", HEADERS, b"", 5.0))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.INTERNAL
    assert type(error).__name__ in fault.detail or str(error) in fault.detail


@pytest.mark.clock
async def test_tls_is_verified_and_an_extra_authority_can_be_trusted(sender: HttpSender, certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with Receiver(OK, tls=tls) as receiver:
        fault = await sender.send(receiver.post(scheme="https"))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail) == (Reason.TLS, "self-signed certificate")
        assert not receiver.posts
        async with HttpSender(LOOPBACK, extra_ca_file=str(certificate)) as trusting:
            for _ in range(2):
                reply = await trusting.send(receiver.post(scheme="https"))
                assert isinstance(reply, Reply)
        assert receiver.accept_count == 1  # handshakes completed


async def test_https_to_a_server_that_speaks_no_tls(sender: HttpSender) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        fault = await sender.send(Request(f"https://127.0.0.1:{port}/", HEADERS, b"", 5.0))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.TLS


# ------------------------------------------------------------------ addresses we must not touch


WAYS_IN = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::]:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://127.0.0\r\n.1:{port}/",
    "http://\t127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://1.1.1.1\\@127.0.0.1:{port}/",
    "http://1.1.1.1#@127.0.0.1:{port}/",
    "http://runs-inside.example:{port}/",
    "http://mixed.example:{port}/",
    "https://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("way_in", WAYS_IN)
async def test_no_way_in_even_when_the_url_comes_from_the_database(way_in: str) -> None:
    told: list[AddressBlocked] = []
    answers = ["1.1.1.1", "127.0.0.1"] if "mixed" in way_in else ["127.0.0.1"]
    resolver = None if "localhost" in way_in else GuardedResolver(SHIPPED, resolver=Names(answers))
    async with (
        Receiver(OK) as receiver,
        HttpSender(SHIPPED, resolver=resolver, on_blocked=told.append) as sender,
    ):
        fault = await sender.send(Request(way_in.format(port=receiver.port), HEADERS, b"", 5.0))
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.BLOCKED_DESTINATION, fault
        assert receiver.accept_count == 0
    (blocked,) = told
    assert blocked.host
    assert blocked.host in way_in.format(port=receiver.port)
    assert blocked.address
    assert "127.0.0.1" not in fault.detail


async def test_the_dial_is_judged_even_if_the_resolver_lets_an_address_through() -> None:
    careless = GuardedResolver(LOOPBACK, resolver=Names(["127.0.0.1", "::1"]))
    async with Receiver(OK) as receiver, HttpSender(SHIPPED, resolver=careless) as sender:
        fault = await sender.send(receiver.post(host="a.example"))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail) == (Reason.BLOCKED_DESTINATION, ADDRESS_REFUSED)
        assert receiver.accept_count == 0


async def test_rebinding_gets_nowhere() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        writer.close()

    now = 0.0
    policy = EgressPolicy(allow=(parse_cidr_rule("127.0.0.1/32"),), allow_http=True)  # the "public" address here
    names = GuardedResolver(policy, resolver=Names(["127.0.0.1"], ["127.0.0.2"]), monotonic=lambda: now)
    async with Receiver(answer, host="0.0.0.0") as receiver, HttpSender(policy, resolver=names) as sender:  # noqa: S104
        now = 1.0
        assert isinstance(await sender.send(receiver.post(host="a.example")), Reply)
        now = 60.0
        fault = await sender.send(receiver.post(host="a.example"))
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.BLOCKED_DESTINATION
        assert receiver.accept_count == 1


async def test_a_resolved_name_gets_its_post() -> None:
    names = GuardedResolver(LOOPBACK, resolver=Names(["127.0.0.1"]))
    async with Receiver(OK) as receiver, HttpSender(LOOPBACK, resolver=names) as sender:
        assert isinstance(await sender.send(receiver.post(host="a.example")), Reply)
    assert f"Host: a.example:{receiver.port}\r\n".encode() in receiver.posts[0]


async def test_targets_kept_are_bounded(monkeypatch: pytest.MonkeyPatch, sender: HttpSender) -> None:
    monkeypatch.setattr(http_sender, "TARGETS_KEPT_MAX", 2)
    async with Receiver(OK) as receiver:
        for number in (1, 2, 3, 1):
            assert isinstance(await sender.send(receiver.post(f"/{number}")), Reply)
        assert len(sender._targets) == 2
