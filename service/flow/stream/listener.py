"""One listener: what waits for it, bounded in bytes, and what it missed."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from service.core.events.uid import received_at
from service.core.room import Room
from service.core.stream.position import Cursor, Position, Snapshot
from service.core.stream.told import Closed, CloseReason, Gap, GapReason, Message, Recorded, RecordedEvent, Wanted
from service.flow.stream.waiting import Waiting
from service.ports.stream import Stretch

WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of what waits for one listener: some seconds of a busy organization's events."""


class Listener:
    """What waits for one listener, and whether it is to end. Nobody waits for a listener to take anything."""

    def __init__(self, wanted: Wanted, key_id: str, room: Room) -> None:
        self.wanted = wanted
        self.key_id = key_id
        self.cursor = ""
        """How far it has been told, once it has taken what waits. The tail moves it."""
        self.began: Snapshot | None = None
        """What was committed when it began, which it is not told of; None once the tail is past that."""
        self._waiting = Waiting(wanted.organization_id, room, WAITING_BYTES_MAX)
        self._missed: _Missed | None = None
        self._closed: CloseReason | None = None
        self._has_news = asyncio.Event()
        self._has_ended = asyncio.Event()

    def begin(self, now: Cursor) -> None:
        """Begin after what is committed now."""
        self.began = now.position.seen
        self.cursor = str(now)

    def offer(self, message: Message, row: Recorded, stretch: Stretch) -> bool:
        """Put a row's message with what waits; False if there is no room, and a gap begins with it."""
        if self.began is not None:
            if self.began.sees(row.place.transaction):
                return True
            cursor = Cursor.at(stretch.at, Position(self.began, stretch.until, row.place, stretch.position.server))
            message = Message(str(cursor), row, message.text)
        self.cursor = message.cursor
        is_missed = self._missed is not None
        if not is_missed and not self._wait_for(message):
            self._missed = _Missed()
            self._has_news.set()
        if self._missed is not None:
            self._missed.add(row)
            return is_missed
        return True

    def lose(self, now: Cursor, since: datetime) -> None:
        """The cursors that it has are of no use any more, and what came ``since`` may be missing. It goes on at now."""
        self.began = None
        self.cursor = str(now)
        self._wait_for(Message(self.cursor, Gap(GapReason.TOO_OLD, since, since)))

    def close(self, reason: CloseReason) -> None:
        """End it now. What waits is forgotten: whoever may read on does so from the last cursor that they got."""
        self._closed = self._closed or reason
        self.forget()
        self._has_news.set()
        self._has_ended.set()

    async def ended(self) -> None:
        """Wait until it is to end."""
        await self._has_ended.wait()

    @property
    def is_closed(self) -> bool:
        """Whether it is to end."""
        return self._closed is not None

    def forget(self) -> None:
        """Forget what waits."""
        self._waiting.forget()
        self._missed = None

    async def take(self) -> Sequence[Message]:
        """What waits, some of it if it is much; waits until there is something. ``Closed`` is the last message of all.

        May be cancelled: nothing is lost by it.
        """
        while not (self._waiting or self._missed or self._closed):
            self._has_news.clear()
            await self._has_news.wait()
        if self._closed is not None:
            return [Message("", Closed(self._closed))]
        taken = self._waiting.take()
        if self._missed is not None and not self._waiting:
            taken.append(Message(self.cursor, self._missed.gap()))
            self._missed = None
        return taken

    def _wait_for(self, message: Message) -> bool:
        """Put the message with what waits; False if there is no room."""
        if not self._waiting.put((message,)):
            return False
        self._has_news.set()
        return True


class _Missed:
    """What a listener had no room for."""

    def __init__(self) -> None:
        self._events_since: datetime | None = None
        self._deliveries_since: datetime | None = None

    def add(self, row: Recorded) -> None:
        at = received_at(row.event_uid)
        if isinstance(row, RecordedEvent):
            self._events_since = min(self._events_since or at, at)
        else:
            self._deliveries_since = min(self._deliveries_since or at, at)

    def gap(self) -> Gap:
        return Gap(GapReason.SLOW, self._events_since, self._deliveries_since)
