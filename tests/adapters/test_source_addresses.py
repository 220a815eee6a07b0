"""Outgoing connections come from the addresses that the operator names. Loopback has many of them."""

import asyncio
import socket
from typing import Self

import pytest

from service.adapters.exit.dialer import GuardedResolver
from service.adapters.exit.sender import HttpSender
from service.adapters.exit.sources import SourceAddressError, SourceAddresses
from service.adapters.exit.tunnel import read_proxy
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from tests.adapters.connect_proxy import ConnectProxy
from tests.adapters.receiver import OK, Names, Receiver

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")), allow_http=True)


class Callers:
    """A receiver that notes who calls, and hangs up after each answer."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.addresses: list[str] = []
        self._host = host

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.addresses.append(writer.get_extra_info("peername")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()


async def test_connections_come_from_each_address_in_turn() -> None:
    sources = SourceAddresses(["127.0.0.2", "127.0.0.3", "::1"])
    async with Callers() as receiver, HttpSender(LOOPBACK, sources=sources) as sender:
        for _ in range(4):
            assert isinstance(await sender.send(Request(f"http://127.0.0.1:{receiver.port}/", {}, b"", 5.0)), Reply)
    assert receiver.addresses == ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]
    async with Callers("::1") as receiver, HttpSender(LOOPBACK, sources=sources) as sender:
        assert isinstance(await sender.send(Request(f"http://[::1]:{receiver.port}/", {}, b"", 5.0)), Reply)
    assert receiver.addresses == ["::1"]


async def test_of_a_name_only_the_family_is_dialled_that_has_a_source() -> None:
    resolver = GuardedResolver(LOOPBACK, resolver=Names(["::1", "127.0.0.1"]))
    async with (
        Callers() as receiver,
        HttpSender(LOOPBACK, sources=SourceAddresses(["127.0.0.2"]), resolver=resolver) as sender,
    ):
        assert isinstance(await sender.send(Request(f"http://a.example:{receiver.port}/", {}, b"", 5.0)), Reply)
    assert receiver.addresses == ["127.0.0.2"]


async def test_an_endpoint_that_no_source_can_reach_is_a_destination_that_is_not_allowed() -> None:
    async with Receiver(OK, host="::1") as receiver:
        async with HttpSender(LOOPBACK, sources=SourceAddresses(["127.0.0.2"])) as sender:
            fault = await sender.send(receiver.post(host="[::1]"))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail) == (
            Reason.BLOCKED_DESTINATION,
            "could not connect: this service sends from no IPv6 address",
        )
        assert receiver.accept_count == 0


async def test_a_forbidden_address_is_forbidden_from_everywhere() -> None:
    async with Receiver(OK) as receiver:
        async with HttpSender(EgressPolicy(allow_http=True), sources=SourceAddresses(["127.0.0.2"])) as sender:
            fault = await sender.send(receiver.post())
        assert isinstance(fault, Fault)
        assert (fault.reason, receiver.accept_count) == (Reason.BLOCKED_DESTINATION, 0)


async def test_the_proxy_is_dialled_from_there_too() -> None:
    async with Callers() as receiver, ConnectProxy() as proxy:
        there = read_proxy(f"http://127.0.0.1:{proxy.port}")
        async with HttpSender(LOOPBACK, proxy=there, sources=SourceAddresses(["127.0.0.2"])) as sender:
            assert isinstance(await sender.send(Request(f"http://127.0.0.1:{receiver.port}/", {}, b"", 5.0)), Reply)
    assert proxy.callers == ["127.0.0.2"]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_host_is_refused(address: str) -> None:
    with pytest.raises(SourceAddressError, match=f"{address} is not an address of this host"):
        SourceAddresses(["127.0.0.2", address])


def test_without_addresses_the_system_chooses() -> None:
    with SourceAddresses().open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 8080))) as made:
        assert made.getsockname()[1] == 0
