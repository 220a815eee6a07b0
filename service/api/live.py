"""What an answer that goes on asks of its connection."""

from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import web


class LiveConnection(Protocol):
    """The connection of an answer that does not end by itself."""

    def keep_open(self, on_lost: Callable[[], object]) -> None:
        """The answer goes on; ``on_lost`` is called when the client is gone."""

    def go_on(self) -> None:
        """The client has taken what it was sent: its time to take more begins anew."""


CONNECTION: Final = web.RequestKey("connection", LiveConnection)
