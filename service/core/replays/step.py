"""One step of a replay job: how many deliveries to make now, and what becomes of each that was looked at.

A job has a part for each endpoint, with a cursor of its own, so no endpoint waits for another. A part makes new
deliveries only while few of those it has made wait for their first attempt: the window. It grows while the endpoint
keeps up and shrinks when it does not. So however many deliveries a job replays, an endpoint's new events queue behind
about a second's worth of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

from msgspec import Struct

from service.core.replays.job import SkipReason

STEP_MAX: Final = 1000
"""Deliveries looked at in one step, so also the most that are made in one."""
COUNTED_MAX: Final = 5000
"""Deliveries counted in one step."""
STEP_SECONDS: Final = 0.1
"""A job's rate is given out in portions of this time."""
BURST_SECONDS: Final = 1.0
"""What a job missed because all workers were busy is made good up to this."""
WINDOW_MIN: Final = 4
WINDOW_SECONDS: Final = 0.5
"""The widest window, in seconds of the job's rate."""
OPEN_MAX: Final = 1000
"""Deliveries of a part that have not ended: beyond, retries are waiting and the endpoint is failing."""
PARTS_MAX: Final = 20
"""Parts looked at in one step, to find one that can take it; the next step looks at those after them."""
FULL_REST_SECONDS: Final = 5.0
"""A part with ``OPEN_MAX`` open deliveries is looked at again after this."""
_LOOKED_AT_MIN: Final = 25


class Candidate(Struct, frozen=True, gc=False):
    """A delivery that matches. ``newest_number`` is the newest replay of its event to its subscription, open or not."""

    event_uid: UUID
    subscription_id: int
    replay_number: int
    newest_number: int
    is_subscribed: bool
    has_event: bool

    @property
    def skipped_because(self) -> SkipReason | None:
        """Why it is not made again; None if it is."""
        if self.newest_number != self.replay_number:
            return SkipReason.SUPERSEDED
        if not self.is_subscribed:
            return SkipReason.SUBSCRIPTION_REMOVED
        return None if self.has_event else SkipReason.EVENT_DROPPED


Place = tuple[UUID, int]
"""How far a part has come: event and subscription, in this order."""


class Decided(Struct, frozen=True, gc=False):
    """What one step does: the candidates to make again, those passed over, and the last one it has dealt with."""

    made: Sequence[Candidate]
    skipped: Mapping[SkipReason, int]
    through: Place | None
    has_all: bool


def decide(candidates: Sequence[Candidate], most: int) -> Decided:
    """Take the candidates in order until ``most`` are to be made again.

    An event's deliveries to one subscription are dealt with together: the place after them is past them all, so a
    replay that ends meanwhile is never taken for one more to make again.
    """
    made: list[Candidate] = []
    skipped: Counter[SkipReason] = Counter()
    through: Place | None = None
    for place, together in groupby(candidates, key=lambda each: (each.event_uid, each.subscription_id)):
        found = [(each, each.skipped_because) for each in together]
        wanted = [each for each, because in found if because is None]
        if wanted and len(made) >= most:
            return Decided(made, skipped, through, has_all=False)
        made += wanted
        skipped.update(because for _, because in found if because is not None)
        through = place
    return Decided(made, skipped, through, has_all=True)


def tokens_after(tokens: float, rate: int, seconds: float) -> float:
    """How many deliveries the rate permits ``seconds`` later; a clock that went back changes nothing."""
    return min(max(1.0, rate * BURST_SECONDS), tokens + max(0.0, seconds) * rate)


def is_ripe(tokens: float, rate: int) -> bool:
    """Whether the rate permits enough for a step."""
    return tokens >= max(1.0, rate * STEP_SECONDS)


def has_room(window: int, waiting: int, open_count: int) -> bool:
    """Whether a part may make enough for a step to be worth its commit: a quarter of its window."""
    return waiting <= window * 3 // 4 and open_count < OPEN_MAX


def most_of(tokens: float, window: int, waiting: int, open_count: int) -> int:
    """How many deliveries a part may make now."""
    return max(0, min(int(tokens), window - waiting, OPEN_MAX - open_count, STEP_MAX))


def looked_at(most: int) -> int:
    """How many deliveries to look at in order to make ``most``."""
    return min(STEP_MAX, max(_LOOKED_AT_MIN, 2 * most))


def next_window(window: int, waiting: int, rate: int) -> int:
    """The window after a step that found ``waiting`` deliveries without a first attempt."""
    if waiting <= window // 4:
        return min(2 * window, max(WINDOW_MIN, int(WINDOW_SECONDS * rate)))
    return max(WINDOW_MIN, window // 2) if waiting > window // 2 else window


def dropped_reason(count: int) -> str | None:
    """What a job says at its end of deliveries that retention took before their turn came."""
    if not count:
        return None
    what = "delivery was" if count == 1 else "deliveries were"
    return f"{count} {what} past retention before their turn came; raise POSTHORN_RETENTION_DAYS or the rate"
