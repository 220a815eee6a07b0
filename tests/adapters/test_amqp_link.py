"""What a link sends of the acks that several ask of it at the same time."""

import asyncio
from typing import Any

from service.adapters.rabbitmq.link import Link


class BusyChannel:
    """Stands for a channel whose queue of frames is full when message 2 is acked."""

    is_closed = False

    def __init__(self) -> None:
        self.sent: list[tuple[int, bool]] = []
        self.is_full = asyncio.Event()
        self.has_room = asyncio.Event()

    async def basic_ack(self, tag: int, *, multiple: bool = False, wait: bool = True) -> None:
        assert isinstance(wait, bool)
        if tag == 2:
            self.is_full.set()
            await self.has_room.wait()
        self.sent.append((tag, multiple))


async def test_an_ack_for_many_does_not_overtake_those_it_takes_for_sent() -> None:
    """It would cover them, and the broker closes a channel on which a message is acked twice."""
    link, channel = Link("queue", lambda *_: None), BusyChannel()
    anything: Any = channel
    link._channel = anything
    for tag in range(1, 6):
        link._unacked.add(tag)
    first = asyncio.create_task(link.ack_all([2, 3]))
    await channel.is_full.wait()
    others = asyncio.gather(link.ack_all([1, 4]), link.ack(5))
    channel.has_room.set()
    await asyncio.gather(first, others)
    assert channel.sent == [(2, False), (3, False), (4, True), (5, False)]
