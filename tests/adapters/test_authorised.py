"""Sending with tokens: a real token server and a real receiver on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from service.adapters.exit.authorised import FAILURE_KEPT_SECONDS, RENEWED_AFTER_SECONDS
from service.adapters.exit.sender import HttpSender
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.auth import OAuth2
from service.core.endpoints.target_policy import EgressPolicy, parse_cidr_rule
from service.core.reason import Reason
from tests.adapters.receiver import OK, Answer, Receiver

LOOPBACK = EgressPolicy(allow=(parse_cidr_rule("127.0.0.0/8"), parse_cidr_rule("::1/128")), allow_http=True)
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


def saying(body: str, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def numbered(number: int, writer: asyncio.StreamWriter) -> None:
    """A new token each time: t1, t2, …"""
    writer.write(saying(f'{{"access_token": "t{number}", "token_type": "Bearer", "expires_in": 100}}'))


def tokens_at(server: Receiver) -> OAuth2:
    return OAuth2(server.post("/token").url, "posthorn", "hunter2")


def asked_by(receiver: Receiver, auth: OAuth2, endpoint_id: str = "ep_1", **changes: float) -> Request:
    request = replace(receiver.post(), auth=auth, endpoint_id=endpoint_id)
    return replace(request, **changes)


def tokens_seen(receiver: Receiver) -> list[str]:
    return [post.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0].decode() for post in receiver.posts]


def status_of(answer: Reply | Fault) -> int:
    assert isinstance(answer, Reply), answer
    return answer.status


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(LOOPBACK) as sender:
        yield sender


@pytest.fixture
def time(sender: HttpSender) -> Time:
    sender._authorised._clock = time = Time()
    return time


async def test_a_token_is_fetched_once_and_sent_each_time(sender: HttpSender) -> None:
    async with Receiver(numbered) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server))
        replies = await asyncio.gather(*(sender.send(request) for _ in range(20)))
        assert all(isinstance(each, Reply) for each in replies)
        assert isinstance(await sender.send(request), Reply)
        assert len(server.posts) == 1
        assert tokens_seen(receiver) == ["t1"] * 21
        assert server.posts[0].startswith(b"POST /token HTTP/1.1\r\n")
        assert server.posts[0].endswith(b"grant_type=client_credentials")


async def test_each_endpoint_has_its_own_and_new_credentials_get_a_new_one(sender: HttpSender) -> None:
    async with Receiver(numbered) as server, Receiver(OK) as receiver:
        auth = tokens_at(server)
        for request in (
            asked_by(receiver, auth),
            asked_by(receiver, auth, "ep_2"),
            asked_by(receiver, OAuth2(auth.token_url, "posthorn", "rotated")),
            asked_by(receiver, auth),
        ):
            assert isinstance(await sender.send(request), Reply)
        assert tokens_seen(receiver) == ["t1", "t2", "t3", "t1"]


async def test_no_more_tokens_are_kept_than_asked_for() -> None:
    async with (
        Receiver(numbered) as server,
        Receiver(OK) as receiver,
        HttpSender(LOOPBACK, idle_max=0, auths_kept_max=1) as sender,
    ):
        requests = [asked_by(receiver, tokens_at(server), f"challenge_{number}") for number in range(5)]
        replies = await asyncio.gather(*(sender.send(each) for each in requests))
        assert {status_of(each) for each in replies} == {200}
        assert len(sender._authorised._kept) == 1


async def test_an_endpoint_without_auth_sends_none(sender: HttpSender) -> None:
    async with Receiver(OK) as receiver:
        assert isinstance(await sender.send(receiver.post()), Reply)
        assert b"uthorization" not in receiver.posts[0]


async def test_a_token_is_refreshed_beside_the_deliveries_before_it_expires(sender: HttpSender, time: Time) -> None:
    async with Receiver(numbered) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server))
        await sender.send(request)
        time.now += 79
        await sender.send(request)
        assert len(server.posts) == 1
        time.now += 2
        await sender.send(request)  # uses the old one, and has begun to fetch
        fetching = next(iter(sender._authorised._kept.values())).fetching
        assert fetching is not None
        await fetching
        await sender.send(request)
        assert tokens_seen(receiver) == ["t1", "t1", "t1", "t2"]


async def test_a_token_is_used_while_its_server_is_away_until_it_expires(sender: HttpSender, time: Time) -> None:
    async def once(number: int, writer: asyncio.StreamWriter) -> None:
        await numbered(number, writer) if number == 1 else writer.write(saying("", 503))

    async with Receiver(once) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server))
        await sender.send(request)
        time.now += 81
        assert isinstance(await sender.send(request), Reply)
        kept = next(iter(sender._authorised._kept.values()))
        if kept.fetching is not None:
            await kept.fetching
        time.now += 10
        assert isinstance(await sender.send(request), Reply)
        time.now += 10
        fault = await sender.send(request)
        assert isinstance(fault, Fault)
        assert fault.reason is Reason.AUTH_UNAVAILABLE
        assert len(receiver.posts) == 3


async def test_a_401_to_an_old_token_is_tried_once_with_a_new_one(sender: HttpSender, time: Time) -> None:
    async def only_t2(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if number == 1 or tokens_seen(receiver)[-1] == "t2" else UNAUTHORIZED)

    async with Receiver(numbered) as server, Receiver(only_t2) as receiver:
        request = asked_by(receiver, tokens_at(server))
        assert isinstance(await sender.send(request), Reply)
        time.now += RENEWED_AFTER_SECONDS
        assert status_of(await sender.send(request)) == 200
        assert tokens_seen(receiver) == ["t1", "t1", "t2"]


async def test_a_receiver_that_always_says_401_costs_its_token_server_one_request_a_minute(
    sender: HttpSender, time: Time
) -> None:
    async with Receiver(numbered) as server, Receiver(UNAUTHORIZED) as receiver:
        request = asked_by(receiver, tokens_at(server))
        for _ in range(8):
            assert status_of(await sender.send(request)) == 401
            time.now += RENEWED_AFTER_SECONDS / 4
        assert tokens_seen(receiver) == ["t1"] * 5 + ["t2"] * 4
        assert len(server.posts) == 2


async def test_a_401_to_a_token_that_was_renewed_meanwhile_is_tried_with_the_new_one(
    sender: HttpSender, time: Time
) -> None:
    async def only_t2(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if number == 1 or tokens_seen(receiver)[-1] == "t2" else UNAUTHORIZED)

    async with Receiver(numbered) as server, Receiver(only_t2) as receiver:
        request = asked_by(receiver, tokens_at(server))
        await sender.send(request)
        time.now += RENEWED_AFTER_SECONDS
        replies = await asyncio.gather(*(sender.send(request) for _ in range(5)))
        assert {status_of(each) for each in replies} == {200}
        assert len(server.posts) == 2


@pytest.mark.parametrize("takes_seconds", [0, 8], ids=["refused", "too late"])
async def test_a_401_is_the_answer_if_no_new_token_comes(sender: HttpSender, time: Time, takes_seconds: float) -> None:
    async def once(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await numbered(number, writer)
        else:
            time.now += takes_seconds
            await numbered(number, writer) if takes_seconds else writer.write(saying("", 503))

    async with Receiver(once) as server, Receiver(UNAUTHORIZED) as receiver:
        request = asked_by(receiver, tokens_at(server), timeout_seconds=5.0, limit_seconds=10.0)
        for _ in range(2):
            assert status_of(await sender.send(request)) == 401
            time.now += RENEWED_AFTER_SECONDS
        assert (len(receiver.posts), len(server.posts)) == (2, 2)


async def test_a_401_is_the_answer_if_it_leaves_no_time_for_another_post(sender: HttpSender, time: Time) -> None:
    async def late(_: int, writer: asyncio.StreamWriter) -> None:
        next(iter(sender._authorised._kept.values())).token = "renewed meanwhile"
        time.now += 8
        writer.write(UNAUTHORIZED)

    async with Receiver(numbered) as server, Receiver(late) as receiver:
        request = asked_by(receiver, tokens_at(server), timeout_seconds=5.0, limit_seconds=10.0)
        assert status_of(await sender.send(request)) == 401
        assert len(receiver.posts) == 1


async def test_nobody_waits_for_a_token_longer_than_the_lease_allows(sender: HttpSender) -> None:
    go_on = asyncio.Event()

    async def waiting(number: int, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await numbered(number, writer)

    async with Receiver(waiting) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server), timeout_seconds=0.1, limit_seconds=0.1)
        fault = await sender.send(request)
        assert isinstance(fault, Fault)
        assert (fault.reason, receiver.accept_count) == (Reason.AUTH_UNAVAILABLE, 0)
        go_on.set()
        assert status_of(await sender.send(asked_by(receiver, tokens_at(server)))) == 200
        assert len(server.posts) == 1


async def test_a_sender_that_closes_while_a_token_is_fetched_says_so() -> None:
    asked = asyncio.Event()

    async def silent(_: int, __: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with Receiver(silent) as server, Receiver(OK) as receiver, HttpSender(LOOPBACK) as sender:
        sending = asyncio.create_task(sender.send(asked_by(receiver, tokens_at(server))))
        await asked.wait()
        await sender.close()
        fault = await sending
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail) == (Reason.INTERNAL, "the sender was closed")


REFUSALS: dict[str, tuple[bytes, Reason]] = {
    "refused": (saying('{"error": "invalid_client"}', 401), Reason.AUTH_REFUSED),
    "away": (saying("", 503), Reason.AUTH_UNAVAILABLE),
    "redirects": (saying("", 302), Reason.AUTH_REFUSED),
    "no token": (saying("{}"), Reason.AUTH_REFUSED),
    "endless": (saying('{"access_token": "' + "a" * 100_000 + '"}'), Reason.AUTH_REFUSED),
    "not UTF-8": (b'HTTP/1.1 200 X\r\nContent-Length: 20\r\n\r\n{"access_token":"\xff"}', Reason.AUTH_REFUSED),
    "deep": (saying('{"x": ' + "[" * 15_000, 200), Reason.AUTH_REFUSED),
    "deep refusal": (saying('{"x": ' + "[" * 15_000, 400), Reason.AUTH_REFUSED),
    "not HTTP": (b"hello\r\n\r\n", Reason.AUTH_UNAVAILABLE),
}


@pytest.mark.parametrize(("answer", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_without_a_token_the_receiver_hears_nothing(
    sender: HttpSender, time: Time, answer: bytes, reason: Reason
) -> None:
    async with Receiver(answer) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server))
        for _ in range(3):
            fault = await sender.send(request)
            assert isinstance(fault, Fault)
            assert fault.reason is reason
            assert "hunter2" not in fault.detail
        assert len(server.posts) == 1  # one failure is kept for a moment
        time.now += FAILURE_KEPT_SECONDS
        await sender.send(request)
        assert len(server.posts) == 2
        assert receiver.accept_count == 0


async def test_what_nobody_foresaw_is_our_own_fault_and_kept_for_a_moment(sender: HttpSender, time: Time) -> None:
    async with Receiver(numbered) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, OAuth2(server.post("/token").url, "\udcff", "hunter2"))
        for _ in range(2):
            fault = await sender.send(request)
            assert isinstance(fault, Fault)
            assert fault.reason is Reason.INTERNAL
        assert (server.accept_count, receiver.accept_count) == (0, 0)


async def test_whatever_is_raised_while_a_token_is_looked_up_ends_at_the_sender(sender: HttpSender) -> None:
    def broken() -> float:
        raise RuntimeError("hunter2")

    sender._authorised._clock = broken
    async with Receiver(OK) as receiver:
        fault = await sender.send(asked_by(receiver, tokens_at(receiver)))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.detail) == (Reason.INTERNAL, "RuntimeError")


async def test_a_token_url_passes_the_same_guard() -> None:
    async with (
        Receiver(numbered) as server,
        Receiver(OK) as receiver,
        HttpSender(EgressPolicy(allow=(parse_cidr_rule(f"127.0.0.1/32:{receiver.port}"),), allow_http=True)) as sender,
    ):
        fault = await sender.send(asked_by(receiver, tokens_at(server)))
        assert isinstance(fault, Fault)
        assert (fault.reason, server.accept_count) == (Reason.AUTH_UNAVAILABLE, 0)


async def test_a_timeout_as_long_as_the_lease_allows_is_shortened_by_what_the_token_took(
    sender: HttpSender, time: Time
) -> None:
    async def slowly(number: int, writer: asyncio.StreamWriter) -> None:
        time.now += 6
        await numbered(number, writer)

    sent: list[Request] = []
    send = sender._authorised._send

    async def listed(request: Request) -> Reply | Fault:
        sent.append(request)
        return await send(request)

    sender._authorised._send = listed
    async with Receiver(slowly) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server), timeout_seconds=55.0, limit_seconds=55.0)
        for _ in range(2):
            assert isinstance(await sender.send(request), Reply)
            time.now += 1
        posts = [(each.timeout_seconds, each.limit_seconds) for each in sent if each.url == request.url]
        assert posts == [(49.0, 49.0), (55.0, 55.0)]


async def test_a_token_that_comes_too_late_for_the_lease_is_not_used(sender: HttpSender, time: Time) -> None:
    async def slowly(number: int, writer: asyncio.StreamWriter) -> None:
        time.now += 8
        await numbered(number, writer)

    async with Receiver(slowly) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server), timeout_seconds=5.0, limit_seconds=10.0)
        fault = await sender.send(request)
        assert isinstance(fault, Fault)
        assert (fault.reason, receiver.accept_count) == (Reason.AUTH_UNAVAILABLE, 0)
        assert isinstance(await sender.send(request), Reply)  # the token is there now


async def test_whoever_asked_first_may_leave(sender: HttpSender) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def waiting(number: int, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await numbered(number, writer)

    answer: Answer = waiting
    start: Callable[[Request], asyncio.Task[Reply | Fault]] = lambda each: asyncio.create_task(sender.send(each))  # noqa: E731
    async with Receiver(answer) as server, Receiver(OK) as receiver:
        request = asked_by(receiver, tokens_at(server))
        first, second = start(request), start(request)
        await asked.wait()
        first.cancel()
        go_on.set()
        assert isinstance(await second, Reply)
        assert len(server.posts) == 1
