"""Names and addresses at the moment of the dial."""

import asyncio
import socket
from typing import Any, cast

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

from service.adapters.exit import dialer as guarded_dialer
from service.adapters.exit.dialer import DestinationBlockedError, GuardedResolver, socket_factory
from service.adapters.exit.sources import SourceAddresses
from service.core.endpoints.target_policy import ADDRESS_REFUSED, EgressPolicy, parse_cidr_rule

SHIPPED = EgressPolicy()
LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")))


class Names(AbstractResolver):
    """A DNS of our own: each lookup takes the next answer of its name, and waits for ``gate`` if there is one."""

    def __init__(self, **answers: list[list[str] | Exception]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        self.was_asked.set()
        if self.gate is not None:
            await self.gate.wait()
        left = self.answers[host.replace(".", "_")]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0) for address in answer
        ]

    async def close(self) -> None: ...


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_public_answers_pass() -> None:
    resolver = GuardedResolver(SHIPPED, resolver=Names(a_example=[["1.1.1.1", "2606:4700::1111"]]))
    found = await resolver.resolve("A.example", 443)
    assert [(r["host"], r["port"], r["family"]) for r in found] == [
        ("1.1.1.1", 443, socket.AF_INET),
        ("2606:4700::1111", 443, socket.AF_INET6),
    ]


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["1.1.1.1", "::1"], ["fe80::1%eth0"]])
async def test_any_forbidden_answer_refuses_the_name(answer: list[str]) -> None:
    resolver = GuardedResolver(SHIPPED, resolver=Names(a_example=[answer]))
    with pytest.raises(DestinationBlockedError) as caught:
        await resolver.resolve("a.example", 443)
    assert str(caught.value) == ADDRESS_REFUSED
    assert answer[-1] in caught.value.where


async def test_answers_are_kept_30_seconds_and_failures_10() -> None:
    time = Time()
    names = Names(good_example=[["1.1.1.1"]], bad_example=[OSError(None, "Domain name not found")])
    resolver = GuardedResolver(SHIPPED, resolver=names, monotonic=time)
    for elapsed, host, asked_count in (
        (0, "good.example", 1),
        (29, "good.example", 1),
        (31, "good.example", 2),
        (31, "bad.example", 3),
        (40, "bad.example", 3),
        (42, "bad.example", 4),
    ):
        time.now = 1000.0 + elapsed
        if host == "bad.example":
            with pytest.raises(OSError, match="not found"):
                await resolver.resolve(host, 443)
        else:
            await resolver.resolve(host, 443)
        assert len(names.asked) == asked_count


async def test_rebinding_is_judged_at_each_lookup() -> None:
    time = Time()
    resolver = GuardedResolver(SHIPPED, resolver=Names(a_example=[["1.1.1.1"], ["127.0.0.1"]]), monotonic=time)
    assert await resolver.resolve("a.example", 443)
    time.now += 60
    with pytest.raises(DestinationBlockedError):
        await resolver.resolve("a.example", 443)


async def test_one_lookup_serves_all_who_ask_and_survives_the_first_one_leaving() -> None:
    names = Names(a_example=[["1.1.1.1"]])
    names.gate = asyncio.Event()
    resolver = GuardedResolver(SHIPPED, resolver=names)
    askers = [asyncio.create_task(resolver.resolve("a.example", 443)) for _ in range(20)]
    await names.was_asked.wait()
    askers[0].cancel()
    names.gate.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    assert names.asked == ["a.example"]
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, list) for answer in answers[1:])


async def test_a_silent_dns_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_dialer, "LOOKUP_SECONDS_MAX", 0.01)
    names = Names(a_example=[["1.1.1.1"]])
    names.gate = asyncio.Event()
    with pytest.raises(OSError, match="did not answer within"):
        await GuardedResolver(SHIPPED, resolver=names).resolve("a.example", 443)


class NameServer(asyncio.DatagramProtocol):
    """Answers with 1.1.1.1, but to names that begin with "dead" not at all."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, query: bytes, address: Any) -> None:
        if query[13:17] == b"dead":
            return
        end = query.index(b"\0", 12) + 5
        wants_ipv4 = query[end - 3] == 1
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\1\1\1\1" if wants_ipv4 else b""
        head = query[:2] + b"\x81\x80\0\1" + bytes([0, wants_ipv4]) + b"\0\0\0\0"
        self.transport.sendto(head + query[12:end] + answer, address)


async def test_names_that_are_not_answered_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_dialer, "LOOKUP_SECONDS_MAX", 300)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    server = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    resolver = GuardedResolver(SHIPPED, resolver=AsyncResolver(nameservers=[server], timeout=5, tries=20))
    dead = [asyncio.create_task(resolver.resolve(f"dead{number}.example", 443)) for number in range(200)]
    for number in range(20):
        (found,) = await resolver.resolve(f"well{number}.example", 443)
        assert found["host"] == "1.1.1.1"
    assert not any(task.done() for task in dead)
    for task in dead:
        task.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    await resolver.close()
    transport.close()


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_dialer, "CACHED_NAMES_MAX", 2)
    names = Names(a=[["1.1.1.1"]], b=[["1.1.1.1"]], c=[["1.1.1.1"]])
    resolver = GuardedResolver(SHIPPED, resolver=names)
    for name in "abca":
        await resolver.resolve(name, 443)
    assert names.asked == ["a", "b", "c", "a"]


async def test_close_gives_up_lookups_under_way() -> None:
    names = Names(a_example=[["1.1.1.1"]])
    names.gate = asyncio.Event()
    resolver = GuardedResolver(SHIPPED, resolver=names)
    asker = asyncio.create_task(resolver.resolve("a.example", 443))
    await names.was_asked.wait()
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await asker


async def test_names_of_the_hosts_file_work_when_both_families_are_allowed() -> None:
    resolver = GuardedResolver(LOOPBACK)
    try:
        found = {answer["host"] for answer in await resolver.resolve("localhost", 8080)}
        assert "127.0.0.1" in found
        with pytest.raises(DestinationBlockedError):
            await resolver.resolve("localhost", 5432)  # kept answers are judged for each port
    finally:
        await resolver.close()


@pytest.mark.parametrize("sockaddr", [("127.0.0.1", 8080), ("::1", 8080, 0, 0), ("::ffff:10.0.0.1", 8080, 0, 0)])
def test_no_socket_is_made_for_a_forbidden_address(sockaddr: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in sockaddr[0] else socket.AF_INET
    with pytest.raises(DestinationBlockedError):
        socket_factory(SHIPPED, SourceAddresses().open_socket)(
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)
        )


def test_an_allowed_address_gets_its_socket() -> None:
    with socket_factory(LOOPBACK, SourceAddresses().open_socket)(
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 8080))
    ) as made:
        assert made.family == socket.AF_INET
