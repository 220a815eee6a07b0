"""The schedule of a delivery as one strip: the attempts that were made, the next one, and those that may follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from service.web.pages.endpoints.choices import span_with_rest
from service.web.words import counted, instant

LABELS_MAX: Final = 14
PHONE_LABELS_MAX: Final = 5
_Look = tuple[str, datetime | None, str]
"""The first three fields of a ``Segment``."""
_MINUTE: Final = 60
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Segment:
    """One attempt. ``look`` is "bad", "ok", "next" or "later"; ``at`` None: its time is not known.

    A narrow strip has no room for every label: ``is_told`` says which it has, ``is_told_on_phones`` which on a phone.
    """

    look: str
    at: datetime | None
    told: str
    """How long after the one before it, of those that may follow; of the next, how it stands if it has no time."""
    is_told: bool = True
    is_told_on_phones: bool = True


@dataclass(frozen=True, slots=True)
class Strip:
    """A delivery's attempts, first to last. ``given_up_at`` is when it is, about, if every one fails."""

    segments: Sequence[Segment]
    sentence: str
    given_up_at: datetime | None
    has_ended: bool


def strip_of(delivery: Mapping[str, Any], schedule: Mapping[str, Any] | None, *, has_ended: bool) -> Strip:
    """The strip. ``schedule`` None: it is not known how many attempts may follow."""
    made = [each for each in delivery["attempts"] if each["is_counted"]]
    looks = [_made(each) for each in made]
    given_up_at = None
    if not has_ended:
        next_at, told = _next(delivery)
        delays = schedule["delays_seconds"][len(made) :] if schedule else []
        looks += [("next", next_at, told), *(("later", None, f"+{_about(each)}") for each in delays)]
        given_up_at = next_at and next_at + timedelta(seconds=sum(delays)) if schedule else None
    return Strip(_labelled(looks, len(made)), _sentence(looks), given_up_at, has_ended)


def _made(attempt: Mapping[str, Any]) -> _Look:
    return ("ok" if attempt["outcome"] == "accepted" else "bad", instant(attempt["started_at"]), "")


def _next(delivery: Mapping[str, Any]) -> tuple[datetime | None, str]:
    """When the next attempt is made: once it is due, and what holds it back is over; or how it stands instead."""
    keeper = delivery["held_by"]
    at = keeper["until"] if keeper else delivery["next_attempt_at"]
    if at:
        return instant(at), ""
    return None, "held back" if keeper else "being sent" if delivery["state"] == "leased" else "in line"


def _labelled(looks: Sequence[_Look], anchor: int) -> Sequence[Segment]:
    """Every label where there is room, else every second or third: always that of the next, or of the last."""
    step = max(1, ceil(len(looks) / LABELS_MAX))
    steps = (step, step * max(1, ceil(len(looks) / step / PHONE_LABELS_MAX)))
    anchor = min(anchor, len(looks) - 1)
    return [
        Segment(*each, *((position - anchor) % each_step == 0 for each_step in steps))
        for position, each in enumerate(looks)
    ]


def _about(seconds: float) -> str:
    """A delay in one unit: delays are spread by a fifth."""
    unit = 1 if seconds < _MINUTE else _MINUTE if seconds < _HOUR else _HOUR
    return span_with_rest(seconds if unit == 1 else round(seconds / unit) * unit)


def _sentence(looks: Sequence[_Look]) -> str:
    """The strip for whoever does not see it."""
    count = {look: sum(each[0] == look for each in looks) for look in ("bad", "ok", "later")}
    parts = [f"{counted(count['bad'], 'attempt')} failed"]
    if count["ok"]:
        parts.append("the last one succeeded")
    for look, at, told in looks:
        if look == "next":
            parts.append(f"the next is due at {at:%H:%M:%S} UTC" if at else f"the next is {told}")
    if count["later"]:
        parts.append(f"{count['later']} more may follow")
    return "; ".join(parts) + "."
