"""The POST itself: one request on a kept-alive connection, and the facts about the reply.

aiohttp's connector and response parser are used without its ClientSession. A session adds cookies, redirects, proxies
from the environment, default headers and decompression, none of which a webhook sender may use. What remains is the
pool, the dial, TLS and HTTP parsing, in about half the time per POST.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, Self

from aiohttp import BaseConnector, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_exceptions import ClientOSError, ServerDisconnectedError
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from service.adapters.exit.authorised import TOKENS_KEPT_MAX, Authorised
from service.adapters.exit.certificates import CONTEXTS_KEPT_MAX, TlsContexts
from service.adapters.exit.deadlines import Deadline, Deadlines, HeldUpError
from service.adapters.exit.dialer import (
    DestinationBlockedError,
    GuardedResolver,
    blocked_by,
    socket_factory,
)
from service.adapters.exit.faults import diagnose
from service.adapters.exit.reply import RoundTrip, expect_reply, read_reply
from service.adapters.exit.sources import SourceAddresses
from service.adapters.exit.tunnel import EgressProxy, TunnelConnector
from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.auth import ClientCertificate, OAuth2
from service.core.endpoints.target_policy import EgressPolicy, TargetRefused
from service.core.endpoints.url import masked_url
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
        idle_max: int = 256,
        auths_kept_max: int = TOKENS_KEPT_MAX,
        resolver: GuardedResolver | None = None,
        proxy: EgressProxy | None = None,
        sources: SourceAddresses | None = None,
    ) -> None:
        """``on_blocked`` is called for each destination that the policy forbade.

        With a ``proxy``, every connection goes through it. ``sources`` are the addresses that connections come from.

        A connection is kept for the next POST for ``keepalive_seconds``; of those that wait, at most ``idle_max``.
        Of tokens, and of TLS contexts with a client certificate, at most ``auths_kept_max`` (1 or more) are kept.
        ``extra_ca_file`` (PEM) is trusted in addition to the system's roots. Raises OSError if it cannot be read.
        """
        self._policy = policy
        self._on_blocked = on_blocked
        self._keepalive_seconds = keepalive_seconds
        self._tls = _verifying(extra_ca_file)
        self._contexts = TlsContexts(
            partial(_verifying, extra_ca_file), kept_max=min(auths_kept_max, CONTEXTS_KEPT_MAX)
        )
        self._resolver = resolver
        self._proxy = proxy
        self._authorised = Authorised(self.send, kept_max=auths_kept_max)
        self._open_socket = (sources or SourceAddresses()).open_socket
        self._connector: BaseConnector | None = None
        self._is_closed = False
        self._deadlines = Deadlines()
        self._targets: dict[str, _Target] = {}
        self._idle_max = idle_max
        self._idle: dict[ResponseHandler, None] = {}  # connections that wait for another POST: the oldest is first

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, for good. POSTs in flight fail with reason INTERNAL."""
        self._is_closed = True
        await self._authorised.close()
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
        Time in which our event loop was held up is left out of the timeout, as far as the request's limit allows.
        Raises nothing but CancelledError.
        """
        if request.auth is not None and isinstance(request.auth, OAuth2):
            try:
                return await self._authorised.send(request, request.auth)
            except Exception as error:  # noqa: BLE001  as below; without its text, which may quote a token
                return Fault(Reason.INTERNAL, 0, type(error).__name__)
        began_at, limit_seconds = monotonic(), request.limit_seconds
        round_trip = RoundTrip()
        try:
            if request.auth is None:
                target = self._targets.get(request.url) or self._prepare(request.url)
            else:  # the dial of a target that is shared shows no certificate
                target = self._prepare(request.url, await self._context_of(request, request.auth))
                limit_seconds -= monotonic() - began_at
            wire = _serialise(target.head, request.headers, request.body)
            with self._deadlines.within(request.timeout_seconds, limit_seconds=limit_seconds) as deadline:
                await self._post_on_any(target.dial, request, wire, round_trip, deadline)
        except Exception as error:  # noqa: BLE001  by contract, every error becomes a Fault with a reason
            if round_trip.message is None:
                if blocked := blocked_by(error):
                    self._tell_blocked(request.url, blocked)
                reason, detail = (Reason.INTERNAL, "the sender was closed") if self._is_closed else diagnose(error)
                return Fault(reason, _milliseconds_since(began_at), detail, round_trip.is_second_connection)
        return round_trip.reply(_milliseconds_since(began_at))

    async def _context_of(self, request: Request, certificate: ClientCertificate) -> ssl.SSLContext:
        """The TLS context that shows this certificate; making it takes of the lease, but not of the receiver's time."""
        try:
            with self._deadlines.within(request.timeout_seconds, limit_seconds=request.limit_seconds):
                return await self._contexts.of(request.endpoint_id, certificate)
        except TimeoutError:
            raise HeldUpError("this worker was held up reading the client certificate") from None

    def _tell_blocked(self, url: str, blocked: DestinationBlockedError) -> None:
        if self._on_blocked is None:
            return
        target = self._targets.get(url)  # None if the URL itself was refused
        host = (target and target.dial.url.raw_host) or blocked.where
        self._on_blocked(AddressBlocked(host, blocked.where, blocked.verdict))

    async def _post_on_any(
        self, dial: ClientRequest, request: Request, wire: bytes, round_trip: RoundTrip, deadline: Deadline
    ) -> None:
        connector = self._connector or self._open()
        connection = await connector.connect(dial, [], _NO_TIMEOUT)
        round_trip.is_kept_connection = was_idle = self._leaves_idle(connection)
        try:
            await self._post(connection, request, wire, round_trip, deadline)
        except (ServerDisconnectedError, ClientOSError, ConnectionError) as error:
            if not was_idle or not _is_untouched(error, round_trip):
                raise
        else:
            return
        round_trip.is_kept_connection = False
        round_trip.is_second_connection = True
        while self._leaves_idle(connection := await connector.connect(dial, [], _NO_TIMEOUT)):
            connection.close()  # it has been idle as long as the stale one, so it is probably stale too
        await self._post(connection, request, wire, round_trip, deadline)

    async def _post(
        self, connection: Connection, request: Request, wire: bytes, round_trip: RoundTrip, deadline: Deadline
    ) -> None:
        is_reusable = False
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or len(protocol):  # len: it sent bytes before any request
                raise ServerDisconnectedError
            # We may have been stopped while we connected, for longer than the lease. Then it is another's turn.
            deadline.require()
            expect_reply(protocol)
            if request.pause_seconds:
                middle = (wire.index(b"\r\n\r\n") + 4 + len(wire)) // 2  # of the body
                transport.write(wire[:middle])
                await asyncio.sleep(request.pause_seconds)
                wire = wire[middle:]
            if not transport.is_closing():  # it may have replied, or left, in the pause
                transport.write(wire)
            is_read = await read_reply(protocol, round_trip)
            # Who was asked to close will, whether the reply says so or not.
            is_reusable = is_read and "Connection" not in request.headers and not transport.get_write_buffer_size()
        finally:
            if is_reusable:
                self._keep(connection)
            else:
                connection.close()

    def _keep(self, connection: Connection) -> None:
        """Keep the connection for the next POST, instead of the one that has waited longest if there are too many.

        Otherwise whoever has many hosts would have as many descriptors, whatever the bound on requests in flight.
        """
        protocol = connection.protocol
        connection.release()
        if protocol is not None and protocol.is_connected():
            self._idle[protocol] = None
            if len(self._idle) > self._idle_max:
                oldest = next(iter(self._idle))
                del self._idle[oldest]
                oldest.close()

    def _leaves_idle(self, connection: Connection) -> bool:
        """Whether the connection has carried a POST before; from now on it is not idle."""
        protocol = connection.protocol
        if protocol is None or protocol not in self._idle:
            return False
        del self._idle[protocol]
        return True

    def _prepare(self, url: str, tls: ssl.SSLContext | None = None) -> _Target:
        """Judge a URL again, although registration judged it: the row may have been written some other way.

        With an endpoint's own ``tls``, connections are shared with nobody else.
        """
        judged = self._policy.judge_url(url)
        if isinstance(judged, TargetRefused):
            raise DestinationBlockedError(judged.host or masked_url(url), judged.verdict, judged.sentence)
        parsed = URL(judged.url, encoded=True)
        if (parsed.scheme, (parsed.raw_host or "").lower(), parsed.port) != (judged.scheme, judged.host, judged.port):
            raise DestinationBlockedError(judged.host, None)  # two parsers disagree: trust neither
        dial = ClientRequest("POST", parsed, loop=asyncio.get_running_loop(), ssl=tls or True)
        head = f"POST {parsed.raw_path_qs} HTTP/1.1\r\nHost: {dial.headers['Host']}\r\nAccept-Encoding: identity\r\n"
        target = _Target(dial, head)
        if tls is None:
            if len(self._targets) >= TARGETS_KEPT_MAX:
                del self._targets[next(iter(self._targets))]
            self._targets[url] = target
        return target

    def _open(self) -> BaseConnector:
        if self._is_closed:
            raise RuntimeError("the sender is closed")
        self._resolver = self._resolver or GuardedResolver(self._policy)
        self._connector = self._tunnels(self._proxy, self._resolver) if self._proxy else self._direct(self._resolver)
        return self._connector

    def _direct(self, resolver: GuardedResolver) -> TCPConnector:
        return TCPConnector(
            resolver=resolver,
            use_dns_cache=False,  # the resolver has its own
            socket_factory=socket_factory(self._policy, self._open_socket),
            ssl=self._tls,
            limit=0,  # lanes decide who may send; a queue here would use up the deadlines of healthy endpoints
            keepalive_timeout=self._keepalive_seconds,
        )

    def _tunnels(self, proxy: EgressProxy, resolver: GuardedResolver) -> TunnelConnector:
        return TunnelConnector(
            proxy, self._policy, resolver, self._open_socket, self._tls, keepalive_seconds=self._keepalive_seconds
        )


def _verifying(extra_ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if extra_ca_file is not None:
        context.load_verify_locations(extra_ca_file)
    return context


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
