"""Whether an event comes from the future: by our clock alone, or by the database's, too."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from service.core.events.event import Event, Rejected
from service.core.reason import ParkReason


class LaterClock:
    """Reads events by the later of our clock and the database's, which is asked when an event seems to be ahead of us.

    Otherwise a worker whose clock is behind would refuse what every other worker takes.
    """

    def __init__(self, now: datetime, ask: Callable[[], Awaitable[datetime]]) -> None:
        """``now`` is our clock; ``ask`` returns the database's, and is called at most once."""
        self._now = now
        self._ask: Callable[[], Awaitable[datetime]] | None = ask

    async def read(self, parse: Callable[[datetime], Event | Rejected]) -> Event | Rejected:
        """What ``parse`` makes of an event at the time it is given. Raises what ``ask`` raises."""
        parsed = parse(self._now)
        if isinstance(parsed, Event) or parsed.reason is not ParkReason.TIMESTAMP_IN_FUTURE or self._ask is None:
            return parsed
        self._now = max(self._now, await self._ask())
        self._ask = None
        return parse(self._now)
