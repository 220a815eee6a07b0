"""The connections of one port: a bounded number, none of which keeps us waiting for long.

Strangers can open connections, so each one waits on a deadline, at every moment of its life: for the head of a request,
for its body, for somebody to take the response, for the next request. When the port is full, the connection that has
kept us waiting longest makes room for a new one. So whoever opens thousands and never ends a request only closes their
own, and a client that sends its request gets through. One that has just come does not give way to one that is idle.
"""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.typedefs import Handler

from service.api.errors import RETRY_AFTER_SECONDS, Code, Problem
from service.api.live import CONNECTION
from service.api.validation import BODY_SECONDS_MAX, JSON

HEAD_SECONDS_MAX: Final = 10.0
"""From the first byte of a request's head, or from the connection's start, to the head's end."""
IDLE_SECONDS_MAX: Final = 75.0
"""For taking a response and beginning the next request. Reverse proxies keep idle connections for 60 seconds."""
WORK_SECONDS_MAX: Final = 60.0
"""For our own part of a request, which has shorter deadlines of its own; and from one part of an answer that goes on to
the next, which the client has to take."""
GONE_SECONDS: Final = 30.0
"""How long the client of an answer that goes on may acknowledge nothing."""
LINGER_SECONDS_MAX: Final = 2.0
"""For the rest of a body that nobody reads, so that the client sees the response instead of a reset."""
HEAD_BYTES_MAX: Final = 32 * 1024
PIPELINED_MAX: Final = 4
"""Requests of one connection that wait for their turn; with more, nothing is read from it."""
SWEEP_SECONDS: Final = 1.0

_SERVER: Final = {"Server": "posthorn"}  # aiohttp's own would tell its version, and Python's
_LATE: Final = (408, Code.REQUEST_TIMEOUT, f"the request's head did not arrive within {HEAD_SECONDS_MAX:g} s")
_FULL: Final = (503, Code.UNAVAILABLE, "too many connections; try again")
_LARGE: Final = (431, Code.PAYLOAD_TOO_LARGE, f"the request's head exceeds the limit of {HEAD_BYTES_MAX} bytes")


class Connections:
    """The open connections of a port. ``factory`` makes the protocol of each."""

    def __init__(self, server: web.Server, count_max: int) -> None:
        self._server = server
        self._count_max = count_max
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        # Those that wait for their clients, the longest wait first: without an answer so far, and with one.
        self._new: dict[Connection, None] = {}
        self._known: dict[Connection, None] = {}

    def factory(self) -> "Connection":
        """A new connection's protocol."""
        return Connection(self._server, self)

    async def sweep(self) -> None:
        """Close, for ever, the connections whose time is over."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            for connection in [each for each in self._open if each.ends_at <= now]:
                connection.end(_LATE)

    def admit(self, connection: "Connection") -> bool:
        """Count it, or say that it must go: the port is full, and we are busy with every other connection."""
        if len(self._open) >= self._count_max:
            longest = self._longest()
            if longest is None:
                return False
            longest.end(_FULL)
        self._open.add(connection)
        self.await_client(connection, HEAD_SECONDS_MAX)
        return True

    def _longest(self) -> "Connection | None":
        """The one to give up: of those never answered and those answered before, whichever are more.

        So neither kind can be driven out by the other: not idle clients by thousands who never asked for anything, nor
        newcomers by a port full of idle ones.
        """
        crowd = self._new if len(self._new) >= len(self._known) else self._known
        return next(iter(crowd), None)

    def await_client(self, connection: "Connection", seconds_max: float) -> None:
        """From now on we wait for its client."""
        if connection in self._open:
            connection.ends_at = self._loop.time() + seconds_max
            self._begin_wait(connection)

    def renew(self, connection: "Connection") -> None:
        """Part of a body has come: the wait begins anew, but its deadline stays."""
        if connection in self._new or connection in self._known:
            self._begin_wait(connection)

    def _begin_wait(self, connection: "Connection") -> None:
        self._forget_wait(connection)
        (self._known if connection.was_answered else self._new)[connection] = None

    def await_us(self, connection: "Connection") -> None:
        """From now on its client waits for us."""
        self._forget_wait(connection)
        connection.ends_at = self._loop.time() + WORK_SECONDS_MAX

    def drop(self, connection: "Connection") -> None:
        """It is closed."""
        self._open.discard(connection)
        self._forget_wait(connection)

    def _forget_wait(self, connection: "Connection") -> None:
        self._new.pop(connection, None)
        self._known.pop(connection, None)


class Connection(web.RequestHandler):
    """aiohttp's protocol of one connection, and who waits for whom on it."""

    __slots__ = ("_body", "_connections", "_head_bytes", "_is_handling", "_on_lost", "ends_at", "was_answered")

    def __init__(self, server: web.Server, connections: Connections) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as AppRunner passes it
            lingering_time=LINGER_SECONDS_MAX,
            auto_decompress=False,
        )
        self._max_msg_queue_size = PIPELINED_MAX
        self._msg_queue_resume_size = PIPELINED_MAX // 2
        self._connections = connections
        self._head_bytes = 0  # of the head that is not complete
        self._is_handling = False
        self._body: StreamReader | None = None  # of the latest request
        self._on_lost: Callable[[], object] = _nothing
        self.ends_at = 0.0
        self.was_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the connection away."""
        super().connection_made(transport)
        if not self._connections.admit(self):
            self.end(_FULL)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._connections.drop(self)
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head that is not complete."""
        is_head, parsed_before = self._awaits_head, self._request_count
        super().data_received(data)
        if self._request_count > parsed_before:
            self._head_bytes = 0
            self._is_handling = True
            self._connections.await_us(self)
        elif is_head and self.transport is not None:
            if not self._head_bytes:  # the first byte after an idle time
                self.ends_at = min(self.ends_at, self._loop.time() + HEAD_SECONDS_MAX)
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.end(_LARGE)
        else:
            self._connections.renew(self)

    def begin(self, request: web.Request) -> None:
        """A handler begins; until the request's body is complete, we wait for the client."""
        self._is_handling = True
        body = self._body = request.content
        if body.is_eof():
            self._connections.await_us(self)
        else:
            self._connections.await_client(self, 2 * BODY_SECONDS_MAX)  # whoever reads the body has less patience
            body.on_eof(lambda: self._end_of(body))

    def pause_writing(self) -> None:
        """The client does not take what it is sent, as fast as it comes: until it does, we wait for it."""
        super().pause_writing()
        if self._is_handling:
            self._connections.await_client(self, WORK_SECONDS_MAX)

    def resume_writing(self) -> None:
        """It has taken it."""
        super().resume_writing()
        if self._is_handling:
            self._connections.await_us(self)

    def finish(self) -> None:
        """The handler has ended; the client has to take the response, and may send the next request."""
        self._is_handling = False
        self._on_lost = _nothing
        self.was_answered = True
        self._connections.await_client(self, IDLE_SECONDS_MAX)

    def keep_open(self, on_lost: Callable[[], object]) -> None:
        """The answer goes on while the client takes what it is sent; ``on_lost`` is called when it is gone."""
        self._on_lost = on_lost
        found = self.transport.get_extra_info("socket") if self.transport is not None else None
        if found is None:
            on_lost()
        elif found.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # A client that vanished without a word: the kernel would try for a quarter of an hour.
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * GONE_SECONDS))

    def go_on(self) -> None:
        """The client has taken part of an answer that goes on."""
        self._connections.await_us(self)

    def end(self, answer: tuple[int, Code, str]) -> None:
        """Close at once, whatever waits to be sent; say why to a client whose request is not answered yet."""
        self._connections.drop(self)
        transport = self.transport
        if transport is None:
            return
        if self._awaits_head and (self._head_bytes or not self.was_answered):
            transport.write(_response(*answer))
        self.force_close()
        transport.abort()  # closing alone would wait until the client has taken what it was sent

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what cannot be read in the shape of all errors, and leave the log to what is our fault."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        problem = Problem(error="the request cannot be read", code=Code.VALIDATION_ERROR, statusCode=status)
        text = problem.model_dump_json(exclude_none=True)
        response = web.Response(text=text, status=status, content_type=JSON, headers=_SERVER)
        response.force_close()
        return response

    @property
    def _awaits_head(self) -> bool:
        return not self._is_handling and (self._body is None or self._body.is_eof())

    def _end_of(self, body: StreamReader) -> None:
        if self._is_handling and self._body is body:
            self._connections.await_us(self)


@web.middleware
async def tell_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a handler begins and ends."""
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101 - ``listen`` adds this middleware, and serves with these
    request[CONNECTION] = connection
    connection.begin(request)
    try:
        return await handler(request)
    finally:
        connection.finish()


async def name_server(_: web.Request, response: web.StreamResponse) -> None:
    """Say who answers, and not with which versions of what."""
    response.headers.update(_SERVER)


def _nothing() -> None:
    pass


def _response(status: int, code: Code, sentence: str) -> bytes:
    body = Problem(error=sentence, code=code, statusCode=status).model_dump_json(exclude_none=True)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {JSON}",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_AFTER_SECONDS}",
        "Connection: close",
        "",
        body,
    )
    return "\r\n".join(head).encode()
