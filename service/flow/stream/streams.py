"""The streams of a process: a bounded number, of which nobody takes all."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeVar

from service.core.room import Room
from service.core.stream.position import Cursor
from service.core.stream.told import CloseReason, Message, Wanted
from service.flow.stream.listener import Listener
from service.flow.stream.past import Past
from service.flow.stream.tail import Encode, Tail
from service.flow.stream.waiting import ALL_WAITING_BYTES_MAX
from service.flow.surroundings import Surroundings
from service.ports.observer import StreamsOpen
from service.ports.stream import StreamStore, TooManyStreams

OF_KEY_MAX: Final = 5
OF_PROCESS_MAX: Final = 400
"""An organization may have as many as are left, so that others always find some."""
PASTS_MAX: Final = 2
"""How many listeners are told of the past at a time; for each of them it is read apart."""


Counted = TypeVar("Counted")


class Streams:
    """Implements ``StreamDesk``."""

    def __init__(self, store: StreamStore, encode: Encode, around: Surroundings) -> None:
        self._store = store
        self._encode = encode
        self._around = around
        self._tail = Tail(store, encode, around)
        self._of_key: Counter[tuple[str, str]] = Counter()
        self._of_organization: Counter[str] = Counter()
        self._pasts = asyncio.Semaphore(PASTS_MAX)
        self._room = Room(ALL_WAITING_BYTES_MAX)

    async def open(self, wanted: Wanted, key_id: str, cursor: Cursor | None) -> "Stream | TooManyStreams":
        """A stream from the cursor on, or from now on. Raises ``UnavailableError``."""
        if self._of_key[wanted.organization_id, key_id] >= OF_KEY_MAX:
            return TooManyStreams.OF_KEY
        if self._of_organization[wanted.organization_id] >= OF_PROCESS_MAX - self._of_organization.total():
            return TooManyStreams.OF_PROCESS
        self._count(wanted, key_id, 1)
        listener = Listener(wanted, key_id, self._room)
        try:
            began = await self._tail.join(listener)
        except BaseException:
            self._count(wanted, key_id, -1)
            raise
        past = None
        if cursor is not None:
            past = Past(self._store, self._encode, self._around, self._room, wanted, cursor, began)
        return Stream(self, listener, past, self._pasts, self._around)

    def close(self, reason: CloseReason) -> None:
        """End every stream."""
        self._tail.close(reason)

    async def end(self) -> None:
        """End every stream, and what they have read for them."""
        await self._tail.end()

    def leave(self, listener: Listener) -> None:
        """Listen no longer."""
        self._tail.leave(listener)
        listener.forget()
        self._count(listener.wanted, listener.key_id, -1)

    def _count(self, wanted: Wanted, key_id: str, change: int) -> None:
        _add(self._of_key, (wanted.organization_id, key_id), change)
        _add(self._of_organization, wanted.organization_id, change)
        self._around.observer.tell(StreamsOpen(self._of_key.total()))


class Stream:
    """Implements ``OpenStream``."""

    def __init__(
        self, streams: Streams, listener: Listener, past: Past | None, pasts: asyncio.Semaphore, around: Surroundings
    ) -> None:
        self._streams = streams
        self._listener = listener
        self._past = past
        self._pasts = pasts
        self._around = around

    @property
    def cursor(self) -> str | None:
        """How far the listener has been told, while nothing waits for it; None while it is told of the past."""
        return self._listener.cursor if self._past is None else None

    async def take(self) -> Sequence[Message]:
        """What comes next: first the past, then what the tail hands out."""
        while self._past is not None and not self._listener.is_closed:
            if told := self._past.take():
                return told
            if self._past.is_over:
                self._past = None
                break
            async with self._pasts:
                await self._around.keep_trying("stream", partial(self._read, self._past))
            if not self._past.has_room:
                await self._past.rest()
        return await self._listener.take()

    async def _read(self, past: Past) -> None:
        if not self._listener.is_closed:
            await past.read()

    async def ended(self) -> None:
        """Wait until it is to end, whether or not it is taken."""
        await self._listener.ended()

    def leave(self) -> None:
        """Listen no longer."""
        if self._past is not None:
            self._past.forget()
        self._streams.leave(self._listener)


def _add(counter: Counter[Counted], name: Counted, change: int) -> None:
    counter[name] += change
    if not counter[name]:
        del counter[name]  # it has an entry only for those who have a stream
