"""Publishing parked messages again."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Final

from service.adapters.rabbitmq.delivery import Delivery
from service.adapters.rabbitmq.parking import Encoded, renewed_properties, restored_properties
from service.adapters.rabbitmq.properties import is_utf8
from service.adapters.rabbitmq.publisher import Outlet
from service.ports.errors import UnavailableError

DEFAULT_EXCHANGE: Final = ""
"""Every queue is bound to it by its name."""


class Again:
    """Publishes messages once more. What it reports as published, the broker has confirmed."""

    def __init__(self, url: str) -> None:
        self._outlet = Outlet(url, "posthorn publishing again", on_return=self._on_return)
        self._returned_count = 0
        self._names = count(1)

    async def publish(self, messages: Sequence[tuple[Delivery, bytes]], queue: str) -> Sequence[Exception | None]:
        """Publish bodies to a queue, with what their messages had before they were parked; for each what went wrong."""
        return await self._together(
            [(body, restored_properties(delivery), DEFAULT_EXCHANGE, queue) for delivery, body in messages]
        )

    async def park(self, deliveries: Sequence[Delivery], exchange: str) -> Sequence[Exception | None]:
        """Park messages anew, as they are; for each what went wrong."""
        return await self._together(
            [
                (
                    each.body,
                    renewed_properties(each),
                    exchange,
                    each.routing_key.decode() if is_utf8(each.routing_key) else "",
                )
                for each in deliveries
            ]
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._outlet.close()

    async def _together(self, messages: Sequence[tuple[bytes, bytes, str, str]]) -> Sequence[Exception | None]:
        returned_before = self._returned_count
        results = await asyncio.gather(
            *(
                self._outlet.publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=Encoded(encoded, sent_as=str(next(self._names))),
                )
                for body, encoded, exchange, routing_key in messages
            ),
            return_exceptions=True,
        )
        if self._returned_count != returned_before:
            # Which of them came back cannot be said; one that did not is published twice.
            places = sorted({exchange or routing_key for _, _, exchange, routing_key in messages})
            return [UnavailableError(f"no queue takes it: {', '.join(places)} is missing")] * len(messages)
        return [each if isinstance(each, Exception) else None for each in results]

    def _on_return(self) -> None:
        self._returned_count += 1
