"""Messages that wait until somebody takes them: bounded for one listener, for an organization, and for the process."""

from collections import deque
from collections.abc import Collection
from typing import Final

from service.core.room import Room
from service.core.stream.told import Message

ALL_WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of what waits for all listeners of a process; an organization's may have as much as is left."""
TAKEN_BYTES: Final = 64 * 1024
"""As soon as what is taken at a time comes to this, it is enough."""


class Waiting:
    """A queue of messages, counted in the room by their texts. ``forget`` must be called in the end."""

    def __init__(self, organization_id: str, room: Room, bytes_max: int = ALL_WAITING_BYTES_MAX) -> None:
        self._organization_id = organization_id
        self._room = room
        self._bytes_max = bytes_max
        self._messages: deque[Message] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, messages: Collection[Message]) -> bool:
        """Add them, all or none; False if there is no room."""
        size = sum(len(each.text) for each in messages)
        if size and (self._bytes + size > self._bytes_max or not self._room.take(self._organization_id, size)):
            return False  # what has no text always has room: a gap must be told
        self._messages.extend(messages)
        self._bytes += size
        return True

    def take(self) -> list[Message]:
        """Remove what comes first, some of it if it is much."""
        taken, taken_bytes = list[Message](), 0
        while self._messages and taken_bytes < TAKEN_BYTES:
            taken.append(self._messages.popleft())
            taken_bytes += len(taken[-1].text)
        self._free(taken_bytes)
        return taken

    def forget(self) -> None:
        """Remove all."""
        self._messages.clear()
        self._free(self._bytes)

    def _free(self, count: int) -> None:
        self._bytes -= count
        self._room.give_back(self._organization_id, count)
