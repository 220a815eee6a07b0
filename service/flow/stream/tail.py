"""The tail: reads what was committed, once for all listeners of a process, and only while there are any."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from service.core.stream.position import Cursor, Position, Snapshot
from service.core.stream.told import CloseReason, GapReason, Message, Recorded, What
from service.flow.stream.listener import Listener
from service.flow.surroundings import Surroundings
from service.ports.errors import UnavailableError
from service.ports.observer import StreamGap, Trouble
from service.ports.stream import Organizations, StreamStore, Stretch

TICK_SECONDS: Final = 0.5
KEYS_SECONDS: Final = 3.0
"""How often it is asked whether the listeners' keys are still valid."""

NO_KEY: Final = ""
"""For a listener who was let in without one; whoever did that closes the stream."""

Encode = Callable[[Recorded], bytes]
"""A row as JSON, once for all who are told of it."""


class Tail:
    """Hands rows to listeners. It begins with the first of them, and ends with the last.

    Dying on any line loses nothing but connections: listeners have their cursors, and any process reads on from them.
    """

    def __init__(self, store: StreamStore, encode: Encode, around: Surroundings) -> None:
        self._store = store
        self._encode = encode
        self._around = around
        self._listeners: dict[str, set[Listener]] = {}
        self._joining: list[tuple[Listener, asyncio.Future[Cursor]]] = []
        self._position = Position(Snapshot(0))
        self._beginners: Sequence[Listener] = ()
        """Those who began before the span that is being read; after it they are as all others."""
        self._read_at: datetime | None = None
        """When all was read that the position says."""
        self._running: asyncio.Task[None] | None = None
        self._has_ended = False
        self._wake = asyncio.Event()
        self._keys_looked_at = 0.0

    async def join(self, listener: Listener) -> Cursor:
        """Hand the listener all that is committed from now on; returns the cursor after which that begins.

        Raises ``UnavailableError``. The caller's patience bounds the wait.
        """
        if self._has_ended:
            raise UnavailableError("this process is stopping")
        joined: asyncio.Future[Cursor] = asyncio.get_running_loop().create_future()
        self._joining.append((listener, joined))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        self._wake.set()
        try:
            return await joined
        except BaseException:
            self.leave(listener)
            raise

    def leave(self, listener: Listener) -> None:
        """Hand it nothing more."""
        mine = self._listeners.get(listener.wanted.organization_id)
        if mine is not None:
            mine.discard(listener)
            if not mine:
                del self._listeners[listener.wanted.organization_id]
        if not self._listeners:
            self._wake.set()

    def close(self, reason: CloseReason) -> None:
        """End every stream."""
        for listener in [*self._all(), *(listener for listener, _ in self._joining)]:
            listener.close(reason)

    async def end(self) -> None:
        """End every stream, and the reading. Nobody joins afterwards."""
        self._has_ended = True
        self.close(CloseReason.SHUTDOWN)
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """Read and hand out until nobody listens."""
        try:
            while self._listeners or self._joining:
                try:
                    await self._let_in()
                    await self._read()
                    await self._look_at_keys()
                except UnavailableError as error:
                    self._around.observer.tell(Trouble("stream", error))
                await self._around.rest_until(self._wake, TICK_SECONDS)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends the streams, not the process that delivers
            self._around.observer.tell(Trouble("stream", error))
            self.close(CloseReason.ERROR)
            self._listeners.clear()
        finally:
            self._running = None
            self._refuse(len(self._joining), UnavailableError("the stream has ended; open it again"))

    async def _let_in(self) -> None:
        """Let those in who wait. Never while something is read: what is read then is not for them, and may be newer."""
        count = len(self._joining)  # whoever comes meanwhile waits for the next time
        if not count:
            return
        try:
            now = await self._store.now()
        except UnavailableError as error:
            self._refuse(count, error)
            return
        if not self._listeners:
            self._position, self._read_at = now.position, now.time
        for listener, joined in self._take_joining(count):
            listener.begin(now)
            self._listeners.setdefault(listener.wanted.organization_id, set()).add(listener)
            joined.set_result(now)

    def _refuse(self, count: int, error: UnavailableError) -> None:
        """Tell the first ``count`` of those who wait to be let in that they are not."""
        for _, joined in self._take_joining(count):
            joined.set_exception(error)

    def _take_joining(self, count: int) -> Sequence[tuple[Listener, asyncio.Future[Cursor]]]:
        """The first of those who wait to be let in, but for those who have lost patience."""
        taken, self._joining = self._joining[:count], self._joining[count:]
        return [each for each in taken if not each[1].done()]

    async def _read(self) -> None:
        """Hand out all that is committed by now, or what was left of the last time."""
        if self._position.after is None:
            self._beginners = [each for each in self._all() if each.began is not None]
        while self._listeners:
            before = self._position
            stretch = await self._store.read(self._organizations(), before)
            if stretch.position.server != before.server or stretch.until.end < before.seen.end:
                # Another database, or one that was put back. What is told begins with what is committed from now on.
                self._position = Position(stretch.until, server=stretch.position.server)
                self._lose(Cursor.at(stretch.at, self._position))
            else:
                await self._hand_out(stretch, before.seen)
                self._position = stretch.position
            self._read_at = stretch.at
            if self._position.after is None:
                self._end_span(Cursor.at(stretch.at, self._position))
                return
            await self._let_in()

    def _end_span(self, cursor: Cursor) -> None:
        for listener in self._beginners:
            listener.began = None
        told = str(cursor)
        for listener in self._all():
            if listener.began is None:
                listener.cursor = told

    def _organizations(self) -> Organizations:
        asked = {
            organization: {each for one in mine for each in one.wanted.what}
            for organization, mine in self._listeners.items()
        }
        return Organizations(
            *(
                [organization for organization, what in asked.items() if each in what]
                for each in (What.EVENTS, What.ATTEMPTS)
            )
        )

    async def _hand_out(self, stretch: Stretch, seen: Snapshot) -> None:
        take_turns = self._around.slices()
        for row in stretch.rows:
            asking = [each for each in self._listeners.get(row.organization_id, ()) if each.wanted.has(row)]
            if asking:
                message = message_of(row, stretch, seen, self._encode)
                for listener in asking:
                    if not listener.offer(message, row, stretch):
                        self._around.observer.tell(StreamGap(GapReason.SLOW))
            await take_turns()

    def _lose(self, now: Cursor) -> None:
        for listener in self._all():
            listener.lose(now, self._read_at or now.time)
            self._around.observer.tell(StreamGap(GapReason.TOO_OLD))

    async def _look_at_keys(self) -> None:
        now = self._around.clock.monotonic()
        if self._listeners and now - self._keys_looked_at >= KEYS_SECONDS:
            key_ids = {each.key_id for each in self._all()} - {NO_KEY}
            ended = await self._store.ended_keys(key_ids) if key_ids else {}
            self._keys_looked_at = now
            for listener in self._all():
                if listener.key_id in ended:
                    listener.close(ended[listener.key_id])

    def _all(self) -> Sequence[Listener]:
        return [each for mine in self._listeners.values() for each in mine]


def message_of(row: Recorded, stretch: Stretch, seen: Snapshot, encode: Encode) -> Message:
    """The message for a row of a stretch that was read after ``seen``."""
    position = Position(seen, stretch.until, row.place, stretch.position.server)
    return Message(str(Cursor.at(stretch.at, position)), row, encode(row))
