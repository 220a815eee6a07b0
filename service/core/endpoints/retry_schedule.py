"""When to try again: min(cap, base x factor^(n-1)), spread by jitter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

DELAYS_MAX: Final = 20
DELAY_MIN_SECONDS: Final = 1
"""Of an endpoint's own list: shorter delays would hammer a receiver that is down."""
DELAY_MAX_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """How long to wait after the n-th failed attempt, and when to give up.

    ``delays_seconds``, when given, replaces the formula: ``(4, 16, 64)`` means four attempts.
    ``jitter`` is the fraction by which a delay may be shorter or longer.
    """

    base_seconds: float = 5.0
    factor: float = 3.0
    cap_seconds: float = 86_400.0
    attempts_max: int = 12
    age_max_seconds: float = 259_200.0
    jitter: float = 0.2
    delays_seconds: tuple[float, ...] | None = None

    def delay_seconds(self, attempts_made: int) -> float | None:
        """The wait after ``attempts_made`` (>= 1) failed attempts, before jitter; None when no attempts are left."""
        if self.delays_seconds is not None:
            return self.delays_seconds[attempts_made - 1] if attempts_made <= len(self.delays_seconds) else None
        if attempts_made >= self.attempts_max:
            return None
        exponent = min(attempts_made - 1, 64)  # factor ** 10_000 would overflow; the cap is long reached by then
        return min(self.cap_seconds, self.base_seconds * self.factor**exponent)

    def planned_delays_seconds(self) -> Sequence[float]:
        """The wait before each attempt after the first, before jitter, as far as the age limit lets them go."""
        delays, total = list[float](), 0.0
        while (delay := self.delay_seconds(len(delays) + 1)) is not None:
            total += delay
            if total > self.age_max_seconds:
                break
            delays.append(delay)
        return delays

    def spread(self, delay_seconds: float, draw: float, *, upward: bool = False) -> float:
        """Apply jitter. ``draw`` lies in [-1, 1]; with ``upward`` the delay only grows, as a Retry-After requires."""
        return delay_seconds * (1 + self.jitter * (abs(draw) if upward else draw))


STANDARD = RetrySchedule()
PRESETS = {
    "standard-webhooks": STANDARD,
    "politicalcomms": RetrySchedule(delays_seconds=(4.0, 16.0, 64.0), attempts_max=4),
}


def read_retry(value: object, service_schedule: RetrySchedule) -> RetrySchedule | str:
    """The schedule for a preset's name or a list of delays in seconds; or the problem, as text.

    A list of n delays means n + 1 attempts. The service's age limit always applies, as events are not kept
    indefinitely: an endpoint may ask for a shorter one, never for a longer one.
    """
    if isinstance(value, str) and value in PRESETS:
        preset = PRESETS[value]
        return replace(preset, age_max_seconds=min(preset.age_max_seconds, service_schedule.age_max_seconds))
    if isinstance(value, list) and 1 <= len(value) <= DELAYS_MAX and all(map(_is_delay, value)):
        return replace(service_schedule, delays_seconds=tuple(map(float, value)), attempts_max=len(value) + 1)
    names = " or ".join(map(repr, PRESETS))
    return (
        f"must be {names}, or a list of 1 to {DELAYS_MAX} delays in seconds, each {DELAY_MIN_SECONDS} to "
        f"{DELAY_MAX_SECONDS}"
    )


def schedule_of(retry: object, service_schedule: RetrySchedule) -> RetrySchedule | None:
    """The schedule that an endpoint's ``retry`` means, the service's own where it is None; None if it is not valid."""
    schedule = service_schedule if retry is None else read_retry(retry, service_schedule)
    return None if isinstance(schedule, str) else schedule


def _is_delay(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and DELAY_MIN_SECONDS <= value <= DELAY_MAX_SECONDS
    )
