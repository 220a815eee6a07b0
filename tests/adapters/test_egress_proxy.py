"""The way out through an egress proxy: a real proxy and real receivers on loopback, with TLS and without."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from service.adapters.exit.dialer import GuardedResolver
from service.adapters.exit.sender import HttpSender
from service.adapters.exit.tunnel import EgressProxy, read_proxy
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from tests.adapters.connect_proxy import ConnectProxy
from tests.adapters.receiver import OK, Names, Receiver

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")), allow_http=True)
SHIPPED = EgressPolicy(allow_http=True)


def through(proxy: ConnectProxy, credentials: str = "") -> EgressProxy:
    return read_proxy(f"http://{credentials}127.0.0.1:{proxy.port}")


def server_tls(certificate: Path) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


async def fault_of(sender: HttpSender, request: Request) -> Fault:
    fault = await sender.send(request)
    assert isinstance(fault, Fault)
    return fault


async def test_one_tunnel_carries_many_posts() -> None:
    async with ConnectProxy() as proxy, Receiver(OK) as receiver, HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
        for _ in range(3):
            assert isinstance(await sender.send(receiver.post()), Reply)
        assert proxy.heads == [
            f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1\r\nHost: 127.0.0.1:{receiver.port}\r\n\r\n".encode()
        ]
        assert len(receiver.posts) == 3
        assert receiver.posts[0].startswith(b"POST /hook HTTP/1.1\r\n")


async def test_an_ipv6_address_is_written_in_brackets() -> None:
    async with (
        ConnectProxy() as proxy,
        Receiver(OK, host="::1") as receiver,
        HttpSender(LOOPBACK, proxy=through(proxy)) as sender,
    ):
        assert isinstance(await sender.send(receiver.post(host="[::1]")), Reply)
        assert proxy.heads[0].startswith(f"CONNECT [::1]:{receiver.port} HTTP/1.1\r\n".encode())


@pytest.mark.clock
@pytest.mark.parametrize("is_proxy_tls", [False, True], ids=["http proxy", "https proxy"])
async def test_tls_through_the_tunnel_is_verified_and_kept_alive(certificate: Path, *, is_proxy_tls: bool) -> None:
    tls = server_tls(certificate)
    async with ConnectProxy(tls=tls if is_proxy_tls else None) as proxy, Receiver(OK, tls=tls) as receiver:
        there = read_proxy(f"{'https' if is_proxy_tls else 'http'}://127.0.0.1:{proxy.port}")
        async with HttpSender(LOOPBACK, proxy=there, extra_ca_file=str(certificate)) as sender:
            for _ in range(2):
                reply = await sender.send(receiver.post(scheme="https"))
                assert isinstance(reply, Reply), reply
        assert len(proxy.heads) == 1
        assert len(receiver.posts) == 2
    async with ConnectProxy() as proxy, Receiver(OK, tls=tls) as receiver:
        async with HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
            fault = await fault_of(sender, receiver.post(scheme="https"))
        assert (fault.reason, fault.detail) == (Reason.TLS, "self-signed certificate")
        assert not receiver.posts


async def test_the_credentials_go_to_the_proxy_and_no_further() -> None:
    async with ConnectProxy() as proxy, Receiver(OK) as receiver:
        async with HttpSender(LOOPBACK, proxy=through(proxy, "po%40st:h%3Arn@")) as sender:
            assert isinstance(await sender.send(receiver.post()), Reply)
        assert b"\r\nProxy-Authorization: Basic cG9Ac3Q6aDpybg==\r\n" in proxy.heads[0]
        assert b"roxy-" not in receiver.posts[0]


@pytest.mark.parametrize(
    ("url", "answers"),
    [
        ("http://127.0.0.1:8080/", []),
        ("http://10.0.0.1:8080/", []),
        ("http://inside.example:8080/", ["10.0.0.1"]),
        ("http://mixed.example:8080/", ["1.1.1.1", "127.0.0.1"]),
    ],
)
async def test_the_proxy_never_hears_of_a_forbidden_destination(url: str, answers: list[str]) -> None:
    """Although the proxy's own address is a private one, which endpoints may not have."""
    resolver = GuardedResolver(SHIPPED, resolver=Names(answers))
    async with ConnectProxy() as proxy, HttpSender(SHIPPED, proxy=through(proxy), resolver=resolver) as sender:
        fault = await fault_of(sender, Request(url, {}, b"", 5.0))
        assert fault.reason is Reason.BLOCKED_DESTINATION
        assert not proxy.heads


async def test_a_private_proxy_is_dialled_for_a_public_receiver() -> None:
    async with Receiver(OK) as receiver:
        routes = {"public.example:80": ("127.0.0.1", receiver.port)}
        resolver = GuardedResolver(SHIPPED, resolver=Names(["1.1.1.1"]))
        async with (
            ConnectProxy(routes=routes) as proxy,
            HttpSender(SHIPPED, proxy=through(proxy), resolver=resolver) as sender,
        ):
            reply = await sender.send(Request("http://public.example/", {}, b"", 5.0))
            assert isinstance(reply, Reply), reply


async def test_a_name_that_only_the_proxy_knows_is_left_to_it() -> None:
    async with Receiver(OK) as receiver:
        routes = {"no-such-host.invalid:80": ("127.0.0.1", receiver.port)}
        async with ConnectProxy(routes=routes) as proxy, HttpSender(SHIPPED, proxy=through(proxy)) as sender:
            reply = await sender.send(Request("http://no-such-host.invalid/", {}, b"", 5.0))
            assert isinstance(reply, Reply), reply


PROXY_FAULTS = {
    "wants credentials": b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    "forbids": b"HTTP/1.1 403 Forbidden\r\n\r\n",
    "is overloaded": b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
    "says so itself": b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=proxy_internal_error\r\n\r\n",
    "speaks no HTTP": b"hello\r\n\r\n",
    "hangs up": b"H",
    "talks on": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "never ends": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000,
}


@pytest.mark.parametrize("answer", PROXY_FAULTS.values(), ids=PROXY_FAULTS.keys())
async def test_what_is_the_proxys_fault_is_told_apart(answer: bytes) -> None:
    async with ConnectProxy(answer=answer) as proxy, HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
        fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 5.0))
        assert fault.reason is Reason.EGRESS_PROXY
        assert str(proxy.port) not in fault.detail


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Reason.CONNECT_REFUSED),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", Reason.TIMEOUT),
        (
            b"HTTP/1.1 503 No\r\nA: b\r\nProxy-Status: envoy; error=connection_refused; x\r\n\r\n",
            Reason.CONNECT_REFUSED,
        ),
        (b"HTTP/1.1 502 No\r\nproxy-status: squid;error=dns_error\r\n\r\n", Reason.DNS),
        (b"HTTP/1.1 504 No\r\nProxy-Status: p; error=connection_timeout\r\n\r\n", Reason.TIMEOUT),
    ],
)
async def test_a_receiver_that_the_proxy_cannot_reach_is_the_receivers(answer: bytes, reason: Reason) -> None:
    async with ConnectProxy(answer=answer) as proxy, HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
        fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 5.0))
        assert (fault.reason, "the egress proxy could not reach the receiver" in fault.detail) == (reason, True)


async def test_a_proxy_that_is_not_there_or_never_answers() -> None:
    async with ConnectProxy(answer=b"") as proxy:
        there = through(proxy)
        async with HttpSender(LOOPBACK, proxy=replace(there, answer_seconds=0.1)) as sender:
            fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 60.0))
            assert (fault.reason, fault.detail) == (Reason.EGRESS_PROXY, "the egress proxy did not answer in time")
        async with HttpSender(LOOPBACK, proxy=replace(there, is_tls=True)) as sender:
            fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 0.2))
            assert (fault.reason, fault.detail) == (
                Reason.EGRESS_PROXY,
                "the egress proxy could not be reached within the timeout",
            )
            assert not proxy.heads[1:]
    async with HttpSender(LOOPBACK, proxy=there) as sender:
        fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 5.0))
        assert (fault.reason, fault.detail) == (Reason.EGRESS_PROXY, "the egress proxy could not be reached")


async def test_a_short_timeout_of_an_endpoint_does_not_turn_its_dead_host_into_the_proxys_fault() -> None:
    async with ConnectProxy(answer=b"") as proxy, HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
        fault = await fault_of(sender, Request("http://127.0.0.1:8080/", {}, b"", 0.2))
        assert fault.reason is Reason.TIMEOUT
        assert len(proxy.heads) == 1


async def test_a_receiver_that_does_not_answer_through_the_tunnel_timed_out() -> None:
    async def silence(_: int, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        ConnectProxy() as proxy,
        Receiver(silence) as receiver,
        HttpSender(LOOPBACK, proxy=through(proxy)) as sender,
    ):
        fault = await fault_of(sender, receiver.post(seconds=0.5))
        assert fault.reason is Reason.TIMEOUT


async def test_a_cancelled_send_is_cancelled() -> None:
    async with ConnectProxy(answer=b"") as proxy, HttpSender(LOOPBACK, proxy=through(proxy)) as sender:
        sending = asyncio.create_task(sender.send(Request("http://127.0.0.1:8080/", {}, b"", 60.0)))
        await proxy.was_asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "socks5://proxy:1080",
        "http://proxy",
        "http://proxy:3128/path",
        "http://proxy:3128?a=b",
        "http://:1",
    ],
)
def test_an_address_that_is_not_a_proxys(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        read_proxy(url)
