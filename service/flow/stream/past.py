"""The past: what was committed between a listener's cursor and when it joined, read for it alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from service.core.room import Room
from service.core.stream.position import Cursor, Position
from service.core.stream.told import Gap, GapReason, Message, Wanted, What
from service.flow.stream.tail import Encode, message_of
from service.flow.stream.waiting import Waiting
from service.flow.surroundings import Surroundings
from service.ports.errors import ReadTooSlowError
from service.ports.observer import StreamGap
from service.ports.stream import Organizations, StreamStore, Stretch

RESUMED_WITHIN: Final = timedelta(minutes=15)
"""How old a cursor may be."""
READING_SECONDS_MAX: Final = 30.0
"""For all that one listener missed, without the time in which others are read for. Some hundred thousand rows,
whosever they are, are looked at in a second."""

READ_SECONDS_MAX: Final = 2.0
"""For one statement. A cursor that somebody made up may name transactions after which a whole history is to be read."""
SLOW_READS_MAX: Final = 2
"""In a row; a single one may be the database's fault."""
ROOM_SECONDS: Final = 0.25
"""How long to rest until there may be room for what was read."""


class Past:
    """Reads on from a cursor to where the tail's messages begin. ``forget`` must be called in the end."""

    def __init__(
        self,
        store: StreamStore,
        encode: Encode,
        around: Surroundings,
        room: Room,
        wanted: Wanted,
        cursor: Cursor,
        until: Cursor,
    ) -> None:
        self._store = store
        self._encode = encode
        self._around = around
        self._wanted = wanted
        self._cursor = cursor
        self._position = cursor.position
        self._began = until
        self._until = until.position.seen
        self._server = until.position.server
        self._seconds_left = READING_SECONDS_MAX
        mine = (wanted.organization_id,)
        self._organizations = Organizations(*(mine if each in wanted.what else () for each in What))
        self._slow_count = 0
        self._waiting = Waiting(wanted.organization_id, room)
        self.has_room = True
        """Whether there was room for what was read last; otherwise it is read again, after ``rest``."""
        self.is_over = False
        """Whether nothing more is to be read. What was read may still wait to be taken."""

    def take(self) -> Sequence[Message]:
        """What was read and comes next, some of it if it is much."""
        return self._waiting.take()

    def forget(self) -> None:
        """Forget what was read and not taken."""
        self._waiting.forget()

    async def rest(self) -> None:
        """Rest until others may have taken something. It counts as reading: what is too large never has room."""
        with self._timed():
            await self._around.rest(ROOM_SECONDS)

    async def read(self) -> None:
        """Read what comes next, which may be nothing. Raises ``UnavailableError``; may be cancelled."""
        with self._timed():
            await self._read()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began_at = self._around.clock.monotonic()
        try:
            yield
        finally:
            self._seconds_left -= self._around.clock.monotonic() - began_at

    async def _read(self) -> None:
        after = self._position
        if after.after is None and after.until is None:  # the cursor's own span is told; the rest is one more
            if after.seen == self._until and after.server == self._server:
                self.is_over = True
                return None
            after = Position(after.seen, self._until, server=after.server)
        if after.server != self._server or after.seen.end > self._until.end:  # of another database, or put back
            return self._end(GapReason.TOO_OLD)
        if self._seconds_left < 0:
            return self._end(GapReason.TOO_MUCH)
        stretch = await self._stretch(after)
        if isinstance(stretch, GapReason):
            return self._end(stretch)
        take_turns, messages = self._around.slices(), list[Message]()
        for row in stretch.rows:
            if self._wanted.has(row):
                messages.append(message_of(row, stretch, after.seen, self._encode))
            await take_turns()
        self.has_room = self._waiting.put(messages)
        if self.has_room:
            self._position = stretch.position
        return None

    async def _stretch(self, after: Position) -> Stretch | GapReason:
        try:
            stretch = await self._store.read(self._organizations, after, READ_SECONDS_MAX)
        except ReadTooSlowError:
            self._slow_count += 1
            if self._slow_count < SLOW_READS_MAX:
                raise  # it is tried again
            return GapReason.TOO_MUCH
        self._slow_count = 0
        is_other = stretch.position.server != self._server  # it has changed since this began
        if is_other or stretch.at - self._cursor.time > RESUMED_WITHIN + timedelta(seconds=READING_SECONDS_MAX):
            return GapReason.TOO_OLD
        return stretch

    def _end(self, reason: GapReason) -> None:
        self.is_over = True
        self._around.observer.tell(StreamGap(reason))
        since = self._cursor.time
        gap = Gap(
            reason,
            since if What.EVENTS in self._wanted.what else None,
            since if What.ATTEMPTS in self._wanted.what else None,
        )
        self._waiting.put((Message(str(self._began), gap),))
