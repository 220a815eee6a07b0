"""What the operating system provides: time, randomness and ids."""

import random
import time
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat


class SystemClock:
    """Implements ``Clock``."""

    def now(self) -> datetime:
        """An aware UTC instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()


def draw() -> float:
    """The jitter: a number in [-1, 1)."""
    return random.random() * 2 - 1  # noqa: S311 - spreads load, keeps no secret


def new_uid() -> UUID:
    """A UUIDv7: its first 48 bits are the time, so a day's events are stored together."""
    return uuid_utils.compat.uuid7()
