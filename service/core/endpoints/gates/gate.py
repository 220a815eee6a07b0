"""Gates: why an endpoint may not be attempted now. Its deliveries wait without using up attempts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf
from typing import Final

from service.core.timestamp import format_timestamp


class GateKind(StrEnum):
    """What shut the gate; an endpoint has at most one of each kind."""

    PAUSED = "paused"  # a person paused it, until a person resumes it
    DISABLED = "disabled"  # it failed for days, until a person resumes it
    RETRY_AFTER = "retry_after"  # the receiver asked for a pause, for that long
    BREAKER = "breaker"  # it kept failing: it is tried again with pauses, then ever more is sent
    RATE_LIMIT = "rate_limit"  # a limit that the endpoint asks for is reached, until it allows the next request
    MAX_IN_FLIGHT = "max_in_flight"  # the same, until one of its requests has ended


HEEDED_WITHIN_SECONDS: Final = 5.0
"""No request begins later than this after what keeps it back. A shut gate, a rotation without an overlap,
or any other change of an endpoint, reaches what workers hold in memory within this time, whatever they do."""
FRESH_SECONDS: Final = HEEDED_WITHIN_SECONDS - 0.5
"""How old a lease may be to be used unasked. The half second is for the commit of what must be heeded."""

STORED: Final = frozenset({GateKind.PAUSED, GateKind.DISABLED, GateKind.RETRY_AFTER, GateKind.BREAKER})
"""The kinds with a row in ``gates``; its CHECK lists the same. The others follow from the endpoint's limits."""

OPENED_BY_PEOPLE: Final = frozenset({GateKind.PAUSED, GateKind.DISABLED})
"""The kinds that have no end: they stay shut until a person resumes the endpoint."""

PASSING: Final = frozenset({GateKind.RATE_LIMIT, GateKind.MAX_IN_FLIGHT})
"""The kinds that open and shut with every request: what waits for them is being sent."""

_REASONS: Final[Mapping[str, str]] = {
    GateKind.PAUSED: "the endpoint is paused",
    GateKind.DISABLED: "the endpoint is disabled",
    GateKind.RETRY_AFTER: "the receiver asked for a pause (Retry-After)",
    GateKind.BREAKER: "the endpoint kept failing, so it is tried with pauses",
    GateKind.RATE_LIMIT: "the endpoint's rate_limit_per_second is used up",
    GateKind.MAX_IN_FLIGHT: "as many requests as the endpoint's max_in_flight allows are in flight",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A shut gate. ``until`` is None if its end is not known, ``since`` if it comes and goes with every request.

    ``detail`` is what there is to say of this one beyond its kind. A kind that this version does not know is text: it
    keeps deliveries back all the same.
    """

    kind: GateKind | str
    since: datetime | None = None
    until: datetime | None = None
    detail: str | None = None

    @property
    def reason(self) -> str:
        """Why it is shut, for people."""
        return self.detail or _REASONS.get(self.kind) or f"its gate {self.kind} is shut"

    @property
    def in_effect_at(self) -> datetime | None:
        """When no request begins any more that it should keep back: until then a worker may not have heard of it."""
        return self.since and self.since + timedelta(seconds=HEEDED_WITHIN_SECONDS)

    @property
    def sentence(self) -> str:
        """The reason, and until when if that is known."""
        return f"{self.reason}, until {format_timestamp(self.until)}" if self.until else self.reason


def that_hold(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Those behind which a delivery waits for longer than a moment. A breaker without an end is trying the endpoint."""
    return tuple(
        each for each in gates if each.kind not in PASSING and (each.kind != GateKind.BREAKER or each.until is not None)
    )


def keeping_back(gates: Iterable[Gate], due_at: datetime | None) -> Gate | None:
    """What keeps a delivery back that is due then: of several gates the one that opens last; None if it may go."""
    held = [each for each in that_hold(gates) if each.until is None or due_at is None or due_at < each.until]
    return max(held, key=lambda each: each.until.timestamp() if each.until else inf, default=None)
