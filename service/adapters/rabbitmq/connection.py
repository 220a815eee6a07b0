"""Connecting to RabbitMQ, hanging up, and making sense of what aiormq throws in between."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiormq
from aiormq.abc import AbstractConnection
from pamqp import decode
from pamqp.common import FieldValue
from yarl import URL

from service.ports.errors import UnavailableError

CONNECT_SECONDS_MAX = 15
HANG_UP_SECONDS_MAX = 5
HEARTBEAT_SECONDS = 10
"""A link gone dead without a word is noticed after about three of these. ``?heartbeat=`` in the URL overrides it."""

type_decoders: dict[str, Callable[[bytes], tuple[int, Any]]] = decode.METHODS
table_decoders: dict[bytes, Callable[[bytes], tuple[int, Any]]] = decode.TABLE_MAPPING


async def connect(url: str, name: str) -> AbstractConnection:
    """Open a connection that shows as ``name`` in the broker's lists. Raises OSError, TimeoutError or AMQPError."""
    _read_odd_timestamps()
    address = URL(url)
    defaults = {"heartbeat": str(HEARTBEAT_SECONDS), "name": name}
    connection = aiormq.Connection(address.with_query({**defaults, **address.query}))
    async with asyncio.timeout(CONNECT_SECONDS_MAX):
        await connection.connect()
    return connection


async def hang_up(connection: AbstractConnection) -> None:
    """Close, or give up trying: the broker takes back what was not acked in either case. Never raises."""
    with suppress(UnavailableError), unavailable("not closed"):
        async with asyncio.timeout(HANG_UP_SECONDS_MAX):
            await connection.close()


def cancelled_by_nobody() -> bool:
    """Whether a CancelledError just caught is aiormq's way to say that the connection died while we waited on it."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn every way in which aiormq reports a lost connection into ``UnavailableError``.

    Among them are CancelledError, thrown at a waiter whom nobody cancelled, and a bare Exception.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if not cancelled_by_nobody():
            raise
        raise UnavailableError(f"{what}: the connection was lost") from error
    except Exception as error:
        raise UnavailableError(f"{what}: {error!r}") from error


def _read_odd_timestamps() -> None:
    """Read a timestamp beyond the year 9999 as none, in place of breaking off the connection.

    The broker carries any 64 bits: a producer that counts microseconds is enough. Without this every consumer of the
    queue loses its connection at that message, over and over, until the delivery limit parks it and its neighbours.
    """
    type_decoders["timestamp"] = table_decoders[b"T"] = _timestamp


def _timestamp(value: bytes) -> tuple[int, FieldValue]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None
