"""Room in memory for large bodies while they arrive: bounded for the process, and nobody takes all of it."""

from typing import Final

from service.core.room import Room

ROOM_BYTES: Final = 64 * 1024 * 1024
"""For all bodies of a process that are arriving, beyond the first 64 KiB of each."""

ROOM: Final = Room(ROOM_BYTES)
