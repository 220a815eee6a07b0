"""The way out through the operator's egress proxy: a tunnel for each connection, opened with HTTP CONNECT.

The guard judges a destination before the proxy hears of it: an address, or every address that we find for a name. The
proxy connects by name, so what it dials is for its own rules to judge, and a name that only the proxy can resolve is
left to it. The proxy itself is dialled wherever it is, since the operator named it; nobody else can choose it.
"""

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType
from aiohttp import BaseConnector, ClientRequest, ClientTimeout
from aiohttp.client_exceptions import ClientConnectorSSLError
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from service.adapters.exit.dialer import DestinationBlockedError, GuardedResolver, OpenSocket
from service.adapters.exit.sources import SourceAddressError
from service.core.endpoints.target_policy import EgressPolicy, Verdict
from service.core.reason import Reason

HEAD_BYTES_MAX: Final = 16 * 1024
ANSWER_SECONDS: Final = 10.0
_AT_PROXY: Final = "cancelled while the egress proxy was dialled"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r)")
_PROXY_STATUS: Final = re.compile(rb"\r\nproxy-status:[^\r]*?;[ \t]*error=([a-z_]+)", re.IGNORECASE)
# What a proxy says of the host behind it, not of itself: by RFC 9209, and by status where it does not speak that.
_ERRORS_OF_THE_RECEIVER: Final = {
    b"dns_timeout": Reason.DNS,
    b"dns_error": Reason.DNS,
    b"destination_not_found": Reason.DNS,
    b"destination_unavailable": Reason.CONNECT_REFUSED,
    b"destination_ip_unroutable": Reason.CONNECT_REFUSED,
    b"connection_refused": Reason.CONNECT_REFUSED,
    b"connection_terminated": Reason.CONNECT_RESET,
    b"connection_timeout": Reason.TIMEOUT,
}
_ANSWERS_OF_THE_RECEIVER: Final = {b"502": Reason.CONNECT_REFUSED, b"504": Reason.TIMEOUT}


class ProxyError(Exception):
    """The egress proxy failed or refused. The text is for customers too: it names no host."""


class BehindProxyError(Exception):
    """The egress proxy works, and says that it cannot reach the receiver, for this ``reason``."""

    def __init__(self, reason: Reason, answer: str) -> None:
        super().__init__(f"the egress proxy could not reach the receiver (it answered {answer})")
        self.reason = reason


def was_at_proxy(error: TimeoutError) -> bool:
    """Whether the deadline struck before the proxy had heard of the receiver."""
    return isinstance(error.__cause__, asyncio.CancelledError) and error.__cause__.args == (_AT_PROXY,)


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """Where the proxy is. ``credentials`` are the value of Proxy-Authorization, "" for none.

    It is silent, and to blame, if it says nothing for ``answer_seconds``. An endpoint's own timeout blames nobody but
    the endpoint's receiver: its owner could choose one so short that a dead host would always be the proxy's fault.
    """

    host: str
    port: int
    is_tls: bool
    credentials: str = field(default="", repr=False)
    answer_seconds: float = ANSWER_SECONDS


def read_proxy(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> EgressProxy:
    """Read ``http://host:port`` or ``https://user:password@host:port``. Raises ValueError without quoting any of it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.query:
        raise ValueError("must be http://host:port or https://user:password@host:port, without a path")
    if not parts.port:
        raise ValueError("must name the proxy's port")
    given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    credentials = "Basic " + b64encode(given.encode()).decode() if "@" in parts.netloc else ""
    return EgressProxy(parts.hostname, parts.port, parts.scheme == "https", credentials, answer_seconds)


class TunnelConnector(BaseConnector):
    """A pool of connections, each through a tunnel of its own. They are kept alive like direct ones."""

    def __init__(
        self,
        proxy: EgressProxy,
        policy: EgressPolicy,
        resolver: GuardedResolver,
        open_socket: OpenSocket,
        tls: ssl.SSLContext,
        *,
        keepalive_seconds: float,
    ) -> None:
        """``tls`` verifies receivers, and the proxy itself if it speaks TLS."""
        super().__init__(limit=0, keepalive_timeout=keepalive_seconds)
        self._proxy = proxy
        self._policy = policy
        self._resolver = resolver
        self._open_socket = open_socket
        self._tls = tls

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> ResponseHandler:
        del traces, timeout  # the sender keeps one deadline over everything
        host, port = req.url.raw_host or "", req.port or 0
        await self._judge(host, port)
        transport, answer = await self._dial()
        try:
            await self._ask(transport, answer, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except BaseException:
            transport.abort()
            raise
        protocol: ResponseHandler = self._factory()
        if req.is_ssl():
            transport = await self._start_tls(transport, protocol, req, host)
        else:
            transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return protocol

    async def _judge(self, host: str, port: int) -> None:
        verdict = self._policy.judge_address(host, port)
        if verdict is Verdict.NOT_AN_ADDRESS:
            try:
                await self._resolver.resolve(host, port)
            except DestinationBlockedError:
                raise
            except OSError:
                return  # the proxy may know the name all the same
        elif not verdict.is_allowed:
            raise DestinationBlockedError(f"{host} port {port}", verdict)

    async def _dial(self) -> "tuple[asyncio.Transport, _Answer]":
        try:
            return await self._connect()
        except asyncio.CancelledError:
            raise asyncio.CancelledError(_AT_PROXY) from None
        except SourceAddressError:
            raise
        except OSError as error:
            raise ProxyError("the egress proxy could not be reached") from error

    async def _connect(self) -> "tuple[asyncio.Transport, _Answer]":
        proxy, loop = self._proxy, self._loop
        addresses = (proxy.host,) if _is_address(proxy.host) else await self._resolver.addresses(proxy.host)
        sock = await aiohappyeyeballs.start_connection(
            [_address_info(each, proxy.port) for each in addresses],
            happy_eyeballs_delay=0.25,
            interleave=1,
            loop=loop,
            socket_factory=self._open_socket,
        )
        return await loop.create_connection(
            lambda: _Answer(loop),
            sock=sock,
            ssl=self._tls if proxy.is_tls else None,
            server_hostname=proxy.host if proxy.is_tls else None,
        )

    async def _ask(self, transport: asyncio.Transport, answer: "_Answer", authority: str) -> None:
        proxy = self._proxy
        credentials = f"Proxy-Authorization: {proxy.credentials}\r\n" if proxy.credentials else ""
        transport.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n".encode("ascii"))
        try:
            async with asyncio.timeout(proxy.answer_seconds):
                head = await answer.head
        except TimeoutError:
            raise ProxyError("the egress proxy did not answer in time") from None
        _require_tunnel(head)

    async def _start_tls(
        self, transport: asyncio.Transport, protocol: ResponseHandler, request: ClientRequest, host: str
    ) -> asyncio.Transport:
        context = request.ssl if isinstance(request.ssl, ssl.SSLContext) else self._tls
        try:
            over_tls: Any = await self._loop.start_tls(transport, protocol, context, server_hostname=host.rstrip("."))
        except ssl.SSLError as error:
            transport.abort()
            raise ClientConnectorSSLError(request.connection_key, error) from error
        except BaseException:
            transport.abort()
            raise
        if over_tls is None:
            raise ConnectionResetError("the connection closed as TLS began")
        wrapped: asyncio.Transport = over_tls
        return wrapped


class _Answer(asyncio.Protocol):
    """Collects what the proxy says before the tunnel begins: ``head``, which fails if there is no more to come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.head: asyncio.Future[bytes] = loop.create_future()
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._read:
            self.head.set_result(self._read)
        elif len(self._read) > HEAD_BYTES_MAX:
            self.head.set_exception(ProxyError("the egress proxy's answer is too long"))

    def connection_lost(self, error: Exception | None) -> None:
        del error  # whatever it is, there is no answer
        if not self.head.done():
            self.head.set_exception(ProxyError("the egress proxy closed the connection without an answer"))


def _require_tunnel(answered: bytes) -> None:
    head, _, rest = answered.partition(b"\r\n\r\n")
    line = _STATUS_LINE.match(head + b"\r\n")
    if line is None:
        raise ProxyError("the egress proxy's answer is not HTTP/1.1")
    answer = line[1]
    if answer.startswith(b"2"):
        if rest:
            raise ProxyError("the egress proxy sent more than its answer")
        return
    told = _PROXY_STATUS.search(head)
    reason = _ERRORS_OF_THE_RECEIVER.get(told[1].lower()) if told else _ANSWERS_OF_THE_RECEIVER.get(answer)
    if reason is not None:
        raise BehindProxyError(reason, answer.decode())
    raise ProxyError(f"the egress proxy refused the connection (it answered {answer.decode()})")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _address_info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
