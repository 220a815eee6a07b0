"""The exit: how an attempt is sent."""

from typing import Protocol

from service.core.deliveries.request import Fault, Reply, Request


class Sender(Protocol):
    """Sends the request and reports what came back, without judging it."""

    async def send(self, request: Request) -> Reply | Fault:
        """POST once, within the request's timeout. Nothing that the receiver does makes this raise."""
