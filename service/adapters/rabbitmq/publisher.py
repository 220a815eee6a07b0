"""Reliable publishing: confirmed, mandatory, persistent."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Self

from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from service.adapters.rabbitmq.connection import hang_up, open_connection, unavailable
from service.adapters.rabbitmq.delivery import Messages
from service.adapters.rabbitmq.topology import Declare, ensure_parked
from service.ports.errors import UnavailableError
from service.ports.source import Topology

CONFIRM_SECONDS_MAX = 10
UNCONFIRMED_MAX = 256
PERSISTENT = 2


class UnroutableError(Exception):
    """No queue is bound for this routing key, so the broker dropped the message."""


class Outlet:
    """A connection for publishing only, opened when first needed and reopened after a loss.

    It is never the consumer's connection: while RabbitMQ is short of memory or disk, it stops reading from connections
    that publish, and then it would not read the acks either, which would relieve it.
    """

    def __init__(self, url: str, name: str, on_return: Callable[[], None] | None = None) -> None:
        """``on_return`` is called for each message that has no queue; ``publish`` then does not raise for it.

        aiormq finds out which message came back by its id, but ids may be the same, missing, or unreadable.
        """
        self._url = url
        self._name = name
        self._on_return = on_return
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(self, body: bytes, *, exchange: str, routing_key: str, properties: Basic.Properties) -> None:
        """Return once the broker has confirmed. Raises ``UnroutableError``, ``UnavailableError``.

        After an ``UnavailableError`` the broker may have the message all the same; publishing again may duplicate it.
        """
        with unavailable("not published"):
            channel = await self._open()
        try:
            with unavailable("not confirmed"):
                async with asyncio.timeout(CONFIRM_SECONDS_MAX):
                    await channel.basic_publish(
                        body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=True
                    )
        except UnavailableError as error:
            match error.__cause__:
                case PublishError() as returned:
                    raise UnroutableError(f"{exchange!r} has no queue for {routing_key!r}") from returned
                case DeliveryError():
                    raise UnavailableError(
                        f"{exchange!r} refused it: a queue there is full, or a policy says so"
                    ) from error
                case TimeoutError() if self._channel is channel:
                    await self.close()  # the connection may be dead without notice: the next publish opens a new one
            raise

    async def ensure_parked(self, topology: Topology, declare: Declare) -> None:
        """Create or check the place for parked messages. Raises ``UnavailableError``."""
        with unavailable("not declared"):
            async with asyncio.timeout(CONFIRM_SECONDS_MAX):
                await ensure_parked((await self._open()).connection, topology, declare)

    async def close(self) -> None:
        """Close the connection. A later ``publish`` connects again."""
        channel, self._channel = self._channel, None  # cleared first: closing may be slow, or fail
        if channel is not None:
            await hang_up(channel.connection)

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                await self.close()  # a channel can close by itself; close its connection too
                # One for each connection: the last one may have ended in the middle of a message.
                messages = None if self._on_return is None else Messages(None, self._on_return)
                connection = await open_connection(self._url, self._name, messages)
                try:
                    self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                except BaseException:
                    await hang_up(connection)
                    raise
            return self._channel


@dataclass(frozen=True, slots=True)
class Publication:
    """An event's envelope to be published.

    ``message_id`` is the event's id. If it is None, the client library invents one, and nothing is deduplicated.
    """

    body: bytes
    event_type: str
    message_id: str | None = None
    occurred_at: datetime | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class EventPublisher:
    """Publishes events the way a good producer does (``posthorn trigger``, the demo, tests, the benchmark)."""

    def __init__(self, url: str, topology: Topology, *, app_id: str = "posthorn") -> None:
        self._outlet = Outlet(url, f"{app_id} publisher")
        self._exchange = topology.events_exchange
        self._app_id = app_id

    async def publish(self, publication: Publication) -> None:
        """Return once a queue has the event. Raises ``UnroutableError``, ``UnavailableError``."""
        await self._outlet.publish(
            publication.body,
            exchange=self._exchange,
            routing_key=publication.event_type,
            properties=Basic.Properties(
                content_type=publication.content_type,
                headers=dict(publication.headers) or None,
                delivery_mode=PERSISTENT,
                message_id=publication.message_id,
                timestamp=publication.occurred_at,
                message_type=publication.event_type,
                app_id=self._app_id,
            ),
        )

    async def publish_many(self, publications: Iterable[Publication]) -> int:
        """Publish in order, with up to ``UNCONFIRMED_MAX`` unconfirmed at a time; returns how many.

        Raises the error of the first that failed. Later ones may have arrived; publish all again, as ids deduplicate.
        """
        waiting = iter(publications)
        published = 0
        while batch := list(islice(waiting, UNCONFIRMED_MAX)):
            results = await asyncio.gather(*map(self.publish, batch), return_exceptions=True)
            for error in results:
                if error is not None:
                    raise error
            published += len(batch)
        return published

    async def close(self) -> None:
        """Close the connection."""
        await self._outlet.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
