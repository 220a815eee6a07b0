"""What struck, when, and which repeated deliveries it explains."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf

from tests.end_to_end.oracle import Line, Pair

BEFORE_SECONDS = 2.0
"""A request may have come this long before a fault began, and its answer not have been committed yet."""

AFTER_SECONDS = 2.0
"""What a fault held up goes on once everybody is ready again, and this is how long that may take."""


class NotStruckError(Exception):
    """A fault that could not be caused now, and why."""


class Repeats(Enum):
    """What may be delivered again because of a fault."""

    NOTHING = "nothing"
    HELD = "what the worker held"
    ANYTHING = "what was in flight"


@dataclass(slots=True, eq=False)
class Blow:
    """One fault. Times are the monotonic clock's; ``held`` is what a worker had leased when it was hit."""

    number: int
    kind: str
    repeats: Repeats
    began_at: float
    detail: str = ""
    held: frozenset[Pair] = frozenset()
    lifted_at: float = inf
    ready_at: float = inf
    caught_up_at: float | None = None
    seen: dict[str, int] = field(default_factory=dict)
    """What the workers' logs called trouble meanwhile, and how often."""

    def end(self, at: float) -> None:
        """It is over, whether or not all are ready."""
        self.lifted_at, self.ready_at = min(self.lifted_at, at), min(self.ready_at, at)

    def explains(self, pair: Pair, at: float) -> bool:
        """Whether a request that was accepted at ``at`` may have been made again because of this."""
        is_near = self.began_at - BEFORE_SECONDS <= at <= self.ready_at + AFTER_SECONDS
        match self.repeats:
            case Repeats.NOTHING:
                return False
            case Repeats.HELD:
                return pair in self.held and at <= self.ready_at + AFTER_SECONDS
            case Repeats.ANYTHING:
                return is_near


@dataclass(frozen=True, slots=True)
class Copy:
    """A delivery that was accepted, and accepted again; ``blow`` is why, None where nothing explains it."""

    pair: Pair
    at: float
    again_at: float
    blow: Blow | None


def copies(lines: Iterable[Line], blows: Sequence[Blow]) -> list[Copy]:
    """Every repeated delivery, with the latest fault that explains it; one that had its worker comes first."""
    accepted: dict[Pair, list[float]] = defaultdict(list)
    for line in lines:
        if line.is_accepted:
            accepted[line.id, line.path].append(line.at)
    found = []
    for pair, times in accepted.items():
        times.sort()
        for at, again_at in pairwise(times):
            found.append(Copy(pair, at, again_at, _reason(pair, at, again_at, blows)))
    return found


def _reason(pair: Pair, at: float, again_at: float, blows: Sequence[Blow]) -> Blow | None:
    able = [blow for blow in blows if blow.began_at <= again_at and blow.explains(pair, at)]
    return max(able, key=lambda blow: (blow.repeats is Repeats.HELD, blow.began_at), default=None)
