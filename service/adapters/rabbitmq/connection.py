"""Connecting to RabbitMQ, closing the connection, and translating aiormq's errors."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.connection import FrameReceiver
from aiormq.exceptions import ConnectionClosed, IncompatibleProtocolError, ProtocolSyntaxError
from pamqp import commands
from pamqp.base import Frame
from pamqp.frame import FrameTypes
from yarl import URL

from service.adapters.rabbitmq.delivery import Messages
from service.adapters.rabbitmq.frames import FRAME_BYTES_MAX, MessagesKept
from service.ports.errors import UnavailableError

CONNECT_SECONDS_MAX = 15
HANG_UP_SECONDS_MAX = 5
HEARTBEAT_SECONDS = 10
"""A dead connection is noticed after about three heartbeats. ``?heartbeat=`` in the URL overrides this."""


_LOSSES = (OSError, EOFError, aiormq.AMQPError, StopAsyncIteration)
"""What aiormq raises of a connection that is lost; TimeoutError is an OSError."""


async def open_connection(url: str, name: str, messages: Messages | None = None) -> AbstractConnection:
    """Open a connection that the broker lists as ``name``. Messages go to ``messages``, else to aiormq.

    Raises ``UnavailableError``, which says in a sentence what is wrong and what to do.
    """
    address = URL(url)
    defaults = {"heartbeat": str(HEARTBEAT_SECONDS), "name": name}
    transport = None if messages is None else MessagesKept(messages)
    connection = _Connection(address.with_query({**defaults, **address.query}), transport_factory=transport)
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            await connection.connect()
    except _LOSSES as error:
        raise UnavailableError(_refusal(error, address)) from error
    return connection


class _Answers(FrameReceiver):
    """Reads the broker's frames while connecting, and raises a refusal with the broker's text.

    aiormq itself reports an unexpected frame, and shows the address of the object instead of its text.
    """

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver

    async def get_frame(self) -> tuple[int, int, FrameTypes]:
        frame = await self._receiver.get_frame()
        if isinstance(frame[2], commands.Connection.Close):
            raise ConnectionClosed(frame[2].reply_code, frame[2].reply_text)
        return frame


class _Connection(aiormq.Connection):
    @staticmethod
    async def _rpc(
        request: Frame,
        writer: asyncio.StreamWriter,
        frame_receiver: FrameReceiver,
        wait_response: bool = True,  # noqa: FBT001, FBT002 - aiormq's signature
    ) -> FrameTypes | None:
        answers = _Answers(frame_receiver)
        answer = await aiormq.Connection._rpc(request, writer, answers, wait_response)  # noqa: SLF001 - what it overrides
        if isinstance(answer, commands.Connection.Tune):
            answer.frame_max = min(answer.frame_max or FRAME_BYTES_MAX, FRAME_BYTES_MAX)  # 0 means without limit
        return answer


# aiormq logs these errors and also raises them; they are reported once, from the exception.
logging.getLogger("aiormq.connection").addFilter(lambda record: not str(record.msg).startswith("error when creating"))


def _refusal(error: Exception, address: URL) -> str:  # noqa: PLR0911 - a table of causes
    """What is wrong and what to do. It never contains the password."""
    place = f"{address.host}:{address.port or (5671 if address.scheme == 'amqps' else 5672)}"
    user, vhost = address.user or "guest", unquote(address.raw_path[1:]) or "/"
    match error:
        case ConnectionClosed(args=(403, *_)):
            guest = "; guest may only connect from the broker's own machine" if user == "guest" else ""
            return (
                f"{place} refused the user {user!r} or the password{guest}; "
                "check both in AMQP_URL (they must be percent-encoded)"
            )
        case ConnectionClosed(args=(_, str(text))) if "vhost" in text and "not found" in text:
            return (
                f"{place} has no virtual host {vhost!r}; correct it in the path of AMQP_URL (no path means the "
                f"default, /), or create it: rabbitmqctl add_vhost {vhost}"
            )
        case ConnectionClosed(args=(_, str(text))) if "vhost" in text and "limit" not in text:
            return (
                f"{place} refused user {user!r} access to the virtual host {vhost!r} ({text}); correct it in the path "
                f"of AMQP_URL, or grant it: rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
            )
        case ConnectionClosed(args=(_, text)):
            return f"{place} closed the connection: {text}"
        case IncompatibleProtocolError() | ProtocolSyntaxError() | EOFError():
            return f"{place} does not speak AMQP; check host and port in AMQP_URL"
        case StopAsyncIteration() | aiormq.AMQPConnectionError() if _is_about_the_end(error):
            return (
                f"{place} closed the connection before it spoke AMQP; wait until RabbitMQ has started, "
                "or check host and port in AMQP_URL"
            )
        case TimeoutError():
            return (
                f"{place} did not answer within {CONNECT_SECONDS_MAX} s; check the network, host and port in AMQP_URL"
            )
        case _ if isinstance(error.__cause__, ssl.SSLError):
            return f"TLS with {place} failed: {error.__cause__.reason}; check scheme and port in AMQP_URL"
        case _ if isinstance(error.__cause__, socket.gaierror):
            return f"the host name {address.host!r} cannot be resolved; check the host in AMQP_URL"
        case ConnectionRefusedError() | aiormq.AMQPConnectionError() if "Connect call failed" in str(error):
            return f"connection to {place} refused; start RabbitMQ, or check host and port in AMQP_URL"
        case _:
            return f"connecting to {place} failed: {_told(error)}"


def _is_about_the_end(error: Exception) -> bool:
    """Whether the connection ended before anything was said; aiormq raises the one or the other."""
    return isinstance(error, StopAsyncIteration) or str(error).startswith("Server connection")


def told_of(loss: Exception) -> Exception:
    """What the operator is told of a lost connection: that the broker cannot be reached. Faults of ours stay."""
    if not isinstance(loss, _LOSSES):
        return loss
    unreachable = UnavailableError(_told(loss))
    unreachable.__cause__ = loss
    return unreachable


async def hang_up(connection: AbstractConnection) -> None:
    """Close, or give up trying: either way the broker requeues unacked messages. Never raises."""
    with suppress(UnavailableError), unavailable("not closed"):
        async with asyncio.timeout(HANG_UP_SECONDS_MAX):
            await connection.close()


def cancelled_by_nobody() -> bool:
    """Whether a CancelledError just caught comes from aiormq, because the connection was lost, not from a cancel()."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


@contextmanager
def unavailable(what: str = "") -> Iterator[None]:
    """Turn every way in which aiormq reports a lost connection into ``UnavailableError``, prefixed with ``what``.

    These include CancelledError, raised in a task that nobody cancelled, and a bare Exception.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if not cancelled_by_nobody():
            raise
        raise UnavailableError(_after(what, "the connection was lost")) from error
    except Exception as error:
        raise UnavailableError(_after(what, _told(error))) from error


def _after(what: str, told: str) -> str:
    return f"{what}: {told}" if what else told


def _told(error: Exception) -> str:
    """The broker's own text if there is any; never an object's address."""
    words = " ".join(str(each) for each in error.args if each not in {None, ""})
    if isinstance(error, UnavailableError):
        return words
    name = type(error).__name__
    return f"{words} ({name})" if words else name
