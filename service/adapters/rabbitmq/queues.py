"""How full the broker's queues are, and whether somebody reads them."""

import asyncio
from contextlib import suppress
from typing import Final

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity

from service.adapters.rabbitmq.connection import hang_up, open_connection, unavailable
from service.core.oversight import BrokerState, QueueState
from service.ports.errors import UnavailableError
from service.ports.source import Topology

ASKED_SECONDS_MAX: Final = 5.0
ASKED_BY_PAGES_SECONDS_MAX: Final = 2.0
"""Well below the time that a page has (``PATIENCE_SECONDS``)."""


class RabbitQueues:
    """Implements ``BrokerDesk``: each look opens a connection, so nothing has to be kept alive in between."""

    def __init__(self, url: str, topology: Topology, *, seconds_max: float = ASKED_SECONDS_MAX) -> None:
        self._url = url
        self._topology = topology
        self._seconds_max = seconds_max

    async def state(self) -> BrokerState:
        """How full its queues are, and whether somebody reads them. Never raises: what is wrong is in the answer."""
        try:
            with unavailable():
                async with asyncio.timeout(self._seconds_max):
                    return await self._asked()
        except UnavailableError as error:
            within = f"no answer within {self._seconds_max:.0f} s"
            return BrokerState(trouble=within if isinstance(error.__cause__, TimeoutError) else str(error))

    async def _asked(self) -> BrokerState:
        connection = await open_connection(self._url, "posthorn status")
        try:
            return BrokerState(
                await _queue(connection, self._topology.intake_queue), await _queue(connection, self._topology.parked)
            )
        finally:
            with suppress(Exception):
                await hang_up(connection)


async def _queue(connection: AbstractConnection, name: str) -> QueueState:
    channel = await connection.channel(publisher_confirms=False)  # one each: a refusal closes it
    try:
        declared = await channel.queue_declare(name, passive=True)
    except (ChannelNotFoundEntity, ChannelLockedResource):
        return QueueState(name, None, 0)
    return QueueState(name, declared.message_count or 0, declared.consumer_count or 0)
