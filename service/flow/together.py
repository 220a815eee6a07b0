"""Questions about leases, asked together: one statement for all that came while the last one ran."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from service.core.deliveries.delivery import Lease


@dataclass(slots=True, eq=False)
class _Waiting:
    """A lease that is asked about."""

    lease: Lease
    answer: bool | None = None


class Together:
    """Asks about one lease after another, and gets the answers to many at a time."""

    def __init__(self, ask: Callable[[Sequence[Lease]], Awaitable[Sequence[bool]]]) -> None:
        self._ask = ask
        self._waiting: set[_Waiting] = set()
        self._turn = asyncio.Lock()

    async def __call__(self, lease: Lease) -> bool:
        """The answer for this lease. It is asked for after this was called."""
        mine = _Waiting(lease)
        self._waiting.add(mine)
        try:
            async with self._turn:
                if mine.answer is None:  # otherwise it was in the batch of whoever had the turn before
                    batch = [each for each in self._waiting if each.answer is None]
                    answers = await self._ask([each.lease for each in batch])
                    for each, answer in zip(batch, answers, strict=True):
                        each.answer = answer
        finally:
            self._waiting.remove(mine)
        return bool(mine.answer)
