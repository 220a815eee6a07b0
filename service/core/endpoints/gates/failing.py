"""Endpoints that fail for days: their organization is told in time, and in the end they are disabled."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from msgspec import Struct

from service.core.events.event import Event
from service.core.events.operational import operational_event
from service.core.events.types.operational import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    ENDPOINT_RECOVERED,
    AboutEndpoint,
    EndpointDisabled,
    EndpointFailing,
    EndpointRecovered,
    is_operational,
)
from service.core.timestamp import format_timestamp

ATTEMPTS_MIN: Final = 20
"""An endpoint is disabled after at least so many failed attempts, however long it takes until there are as many."""


class Stage(IntEnum):
    """What was done about an endpoint since it began to fail."""

    NONE = 0
    WARNED = 1
    WARNED_AGAIN = 2
    DISABLED = 3


RATIOS: Final = (0.5, 0.9, 1.0)
"""Of the time after which a failing endpoint is disabled: how much of it leads to each stage but the first."""


class Streak(Struct, frozen=True, gc=False):
    """The failures of an endpoint since its last success, and what was done about them.

    ``patterns`` are those of its subscriptions; ``attempts_told`` had failed when it came to its ``stage``.
    """

    organization_id: str
    endpoint_id: str
    patterns: Collection[str]
    failing_since: datetime
    attempts_failed: int
    stage: Stage = Stage.NONE
    attempts_told: int = 0


class StageReached(Struct, frozen=True, gc=False):
    """The stage that a failing endpoint has come to, and the event that says so, if there is anything to announce."""

    streak: Streak
    stage: Stage
    event: Event | None

    @property
    def detail(self) -> str:
        """Of a disabled endpoint's gate: since when it failed."""
        return f"the endpoint is disabled: all attempts have failed since {format_timestamp(self.streak.failing_since)}"


class Recovery(Struct, frozen=True, gc=False):
    """The end of a streak of which the organization was told."""

    organization_id: str
    endpoint_id: str
    failing_since: datetime
    was_disabled: bool
    event: Event | None


@dataclass(frozen=True, slots=True)
class DisablingPolicy:
    """After ``seconds`` of nothing but failures an endpoint is disabled; 0: never, and there are no warnings."""

    seconds: float

    @property
    def stage_seconds(self) -> tuple[float, ...]:
        """How long an endpoint fails before it comes to each stage but the first; none if it never does."""
        return tuple(ratio * self.seconds for ratio in RATIOS) if self.seconds else ()

    def judge(self, streak: Streak, now: datetime) -> StageReached | None:
        """The furthest stage that the endpoint has come to; None if nothing is to be done.

        Each stage takes a failure since the one before: who is sent nothing more shows no further sign of failing.
        """
        failing_seconds = (now - streak.failing_since).total_seconds()
        stage = Stage(sum(failing_seconds >= seconds for seconds in self.stage_seconds))
        if stage is Stage.DISABLED and streak.attempts_failed < ATTEMPTS_MIN:
            stage = Stage.WARNED_AGAIN
        if stage <= streak.stage or streak.attempts_failed <= streak.attempts_told:
            return None
        return StageReached(streak, stage, self._event(streak, stage, now))

    def _event(self, streak: Streak, stage: Stage, now: datetime) -> Event | None:
        if only_operational(streak.patterns):
            return None
        about, since = AboutEndpoint(streak.endpoint_id), format_timestamp(streak.failing_since)
        fact = f"{streak.endpoint_id} {since} {stage.name}"
        if stage is Stage.DISABLED:
            disabled = EndpointDisabled(about, since, streak.attempts_failed, format_timestamp(now))
            return operational_event(ENDPOINT_DISABLED, fact, streak.organization_id, now, disabled)
        over_at = max(now, streak.failing_since + timedelta(seconds=self.seconds))
        failing = EndpointFailing(about, since, streak.attempts_failed, RATIOS[stage - 1], format_timestamp(over_at))
        return operational_event(ENDPOINT_FAILING, fact, streak.organization_id, now, failing)


def recovery(streak: Streak, now: datetime) -> Recovery:
    """The end of a streak."""
    event = None
    if not only_operational(streak.patterns):
        since = format_timestamp(streak.failing_since)
        data = EndpointRecovered(AboutEndpoint(streak.endpoint_id), since, streak.stage is Stage.DISABLED)
        event = operational_event(
            ENDPOINT_RECOVERED, f"{streak.endpoint_id} {since}", streak.organization_id, now, data
        )
    is_over = streak.stage is Stage.DISABLED
    return Recovery(streak.organization_id, streak.endpoint_id, streak.failing_since, is_over, event)


def only_operational(patterns: Collection[str]) -> bool:
    """Whether an endpoint gets nothing but operational events: then none is about it, as none is about theirs."""
    return all(is_operational(each) for each in patterns)
