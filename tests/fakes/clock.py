"""A clock that stands still until a test moves it, and the pauses that wait for it."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)


class ManualClock:
    """Both the Clock and the Pause port: who pauses goes on when ``advance`` has moved the clock far enough."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._seconds = 1000.0
        self._pausing: list[tuple[float, asyncio.Future[None]]] = []
        self._has_changed = asyncio.Event()
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever paused no longer than until now."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds
        due = [future for until, future in self._pausing if until <= self._seconds]
        self._pausing = [(until, future) for until, future in self._pausing if until > self._seconds]
        for future in due:
            if not future.done():
                future.set_result(None)

    async def pause(self, seconds: float) -> None:
        """Wait until the test has moved the clock by ``seconds``; no longer than a turn of the loop for none."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pauses.append(seconds)
        self._pausing.append((self._seconds + seconds, future))
        self._has_changed.set()
        await future

    async def until_pauses(self, count: int) -> None:
        """Wait until ``pause`` has been called ``count`` times in all."""
        async with asyncio.timeout(60):
            while len(self.pauses) < count:
                self._has_changed.clear()
                await self._has_changed.wait()
