"""The exit: who makes the attempt."""

from typing import Protocol

from service.core.deliveries.request import Fault, Reply, Request


class Sender(Protocol):
    """Makes the attempt and reports facts; it judges nothing."""

    async def send(self, request: Request) -> Reply | Fault:
        """POST once, within the request's timeout. Never raises for anything the other side can cause."""
