"""The POST itself: one request on a kept-alive connection, and the facts about the reply.

aiohttp's connector and response parser are used without its ClientSession. A session adds cookies, redirects, proxies
from the environment, default headers and decompression, none of which a webhook sender may use. What remains is the
pool, the dial, TLS and HTTP parsing, in about half the time per POST.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final, Self
from weakref import WeakSet

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_exceptions import ClientOSError, ServerDisconnectedError
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from service.adapters.exit.deadlines import Deadlines
from service.adapters.exit.dialer import DestinationBlockedError, GuardedResolver, blocked_by, socket_factory
from service.adapters.exit.faults import diagnose
from service.adapters.exit.reply import RoundTrip, expect_reply, read_reply
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.target_policy import EgressPolicy, TargetRefused
from service.core.reason import Reason
from service.ports.observer import AddressBlocked

TARGETS_KEPT_MAX: Final = 4096
_NO_TIMEOUT: Final = ClientTimeout(total=None)  # send() keeps one deadline over everything


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed URL, computed once: what the connector needs, and the first lines of every request."""

    dial: ClientRequest
    head: str


class HttpSender:
    """A Sender. Its connections belong to the event loop of the first ``send``; close it there."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        on_blocked: Callable[[AddressBlocked], None] | None = None,
        extra_ca_file: str | None = None,
        keepalive_seconds: float = 15.0,
        resolver: GuardedResolver | None = None,
    ) -> None:
        """``on_blocked`` is called for each destination that the policy forbade.

        ``extra_ca_file`` (PEM) is trusted in addition to the system's roots. Raises OSError if it cannot be read.
        """
        self._policy = policy
        self._on_blocked = on_blocked
        self._keepalive_seconds = keepalive_seconds
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        if extra_ca_file is not None:
            self._tls.load_verify_locations(extra_ca_file)
        self._resolver = resolver
        self._connector: TCPConnector | None = None
        self._is_closed = False
        self._deadlines = Deadlines()
        self._targets: dict[str, _Target] = {}
        self._seasoned: WeakSet[ResponseHandler] = WeakSet()  # connections that have carried a POST already

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, for good. POSTs in flight fail with reason INTERNAL."""
        self._is_closed = True
        connector, self._connector = self._connector, None
        if connector is not None:
            await connector.close()
        resolver, self._resolver = self._resolver, None
        if resolver is not None:
            await resolver.close()

    async def send(self, request: Request) -> Reply | Fault:
        """POST once, within the request's timeout: DNS, connect, TLS, request and reply together.

        A reply counts once its header block is complete, whatever happens to its body. If a kept-alive connection
        closes during the POST without a byte of reply, the POST is sent once more on a fresh connection.
        Raises nothing but CancelledError.
        """
        began_at = monotonic()
        round_trip = RoundTrip()
        try:
            target = self._targets.get(request.url) or self._prepare(request.url)
            wire = _serialise(target.head, request.headers, request.body)
            with self._deadlines.within(request.timeout_seconds):
                await self._post_on_any(target.dial, wire, round_trip)
        except Exception as error:  # noqa: BLE001  by contract, every error becomes a Fault with a reason
            if round_trip.message is None:
                if blocked := blocked_by(error):
                    self._tell_blocked(request.url, blocked)
                reason, detail = (Reason.INTERNAL, "the sender was closed") if self._is_closed else diagnose(error)
                return Fault(reason, _milliseconds_since(began_at), detail, round_trip.is_second_connection)
        return round_trip.reply(_milliseconds_since(began_at))

    def _tell_blocked(self, url: str, blocked: DestinationBlockedError) -> None:
        if self._on_blocked is None:
            return
        target = self._targets.get(url)  # None if the URL itself was refused
        host = (target and target.dial.url.raw_host) or blocked.where
        self._on_blocked(AddressBlocked(host, blocked.where, blocked.verdict))

    async def _post_on_any(self, dial: ClientRequest, wire: bytes, round_trip: RoundTrip) -> None:
        connector = self._connector or self._open()
        connection = await connector.connect(dial, [], _NO_TIMEOUT)
        is_seasoned = connection.protocol in self._seasoned
        try:
            await self._post(connection, wire, round_trip)
        except (ServerDisconnectedError, ClientOSError, ConnectionError) as error:
            if not is_seasoned or not _is_untouched(error, round_trip):
                raise
        else:
            return
        round_trip.is_second_connection = True
        while (connection := await connector.connect(dial, [], _NO_TIMEOUT)).protocol in self._seasoned:
            connection.close()  # it has been idle as long as the stale one, so it is probably stale too
        await self._post(connection, wire, round_trip)

    async def _post(self, connection: Connection, wire: bytes, round_trip: RoundTrip) -> None:
        is_reusable = False
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or len(protocol):  # len: it sent bytes before any request
                raise ServerDisconnectedError
            expect_reply(protocol)
            transport.write(wire)
            is_read = await read_reply(protocol, round_trip)
            is_reusable = is_read and not transport.get_write_buffer_size()
            self._seasoned.add(protocol)
        finally:
            if is_reusable:
                connection.release()
            else:
                connection.close()

    def _prepare(self, url: str) -> _Target:
        """Judge a URL again, although registration judged it: the row may have been written some other way."""
        judged = self._policy.judge_url(url)
        if isinstance(judged, TargetRefused):
            raise DestinationBlockedError(judged.host or url, judged.verdict, judged.sentence)
        parsed = URL(judged.url, encoded=True)
        if (parsed.scheme, (parsed.raw_host or "").lower(), parsed.port) != (judged.scheme, judged.host, judged.port):
            raise DestinationBlockedError(judged.host, None)  # two parsers disagree: trust neither
        dial = ClientRequest("POST", parsed, loop=asyncio.get_running_loop())
        head = f"POST {parsed.raw_path_qs} HTTP/1.1\r\nHost: {dial.headers['Host']}\r\nAccept-Encoding: identity\r\n"
        if len(self._targets) >= TARGETS_KEPT_MAX:
            del self._targets[next(iter(self._targets))]
        target = self._targets[url] = _Target(dial, head)
        return target

    def _open(self) -> TCPConnector:
        if self._is_closed:
            raise RuntimeError("the sender is closed")
        self._resolver = self._resolver or GuardedResolver(self._policy)
        self._connector = TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,  # the resolver has its own
            socket_factory=socket_factory(self._policy),
            ssl=self._tls,
            limit=0,  # lanes decide who may send; a queue here would use up the deadlines of healthy endpoints
            keepalive_timeout=self._keepalive_seconds,
        )
        return self._connector


def _serialise(head: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header contains a line break or a NUL")
    return f"{head}{lines}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body


def _is_untouched(error: Exception, round_trip: RoundTrip) -> bool:
    """Whether the connection closed without a byte of reply; the error's message holds a partial header block."""
    return round_trip.is_silent and (not isinstance(error, ServerDisconnectedError) or isinstance(error.message, str))


def _milliseconds_since(began_at: float) -> int:
    return int((monotonic() - began_at) * 1000)
