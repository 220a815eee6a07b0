"""Charts, as numbers that templates draw: bars in percent of the width and in pixels of the height.

An SVG without a viewBox never scales its text, and needs no inline style, which the pages' policy forbids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from service.web.words import PERIODS, counted, instant, number

CHART_PX: Final = 150
SPARKLINE_PX: Final = 24
UNDELIVERED_PX_MIN: Final = 3
"""A single dead delivery among thousands is seen: its edge takes one of these."""
_STATES: Final = ("dead", "waiting", "delivered", "fresh")
"""From the baseline up. What was cancelled was not wanted any more, and is only in the table."""
_VERBS: Final = {
    "waiting": ("waits", "wait"),
    "fresh": ("is about to be sent", "are about to be sent"),
    "dead": ("is dead", "are dead"),
}
_STEPS: Final = (2, 3, 4, 5, 6, 8, 10, 12, 16)
BARS_MAX: Final = 120
"""More would be thinner than the gaps between them on a phone: each then shows several buckets."""
_LABELS: Final = 4
ROOM_AT_ENDS_PERCENT: Final = 22
"""Of a phone's width: what a label at an end takes, and half of one beside it."""
_HOURS_OF_LABELS: Final = (0.25, 1, 3, 6, 12, 24, 48, 72, 168)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: ``y`` and ``height`` in pixels, from the top."""

    state: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The deliveries of one bucket: ``x`` and ``width`` in percent."""

    x: float
    width: float
    segments: Sequence[Segment]
    sentence: str


@dataclass(frozen=True, slots=True)
class Label:
    """A time below the chart: ``x`` in percent."""

    x: float
    text: str

    @property
    def is_near_an_end(self) -> bool:
        """Whether it touches the first or the last on a phone, and is left out there."""
        return not ROOM_AT_ENDS_PERCENT <= self.x <= 100 - ROOM_AT_ENDS_PERCENT


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars under a grid line at ``top``, and one at half of it; ``sentence`` says the same for who cannot see it.

    ``bar_seconds`` is the time that a bar stands for.
    """

    bars: Sequence[Bar]
    labels: Sequence[Label]
    top: int
    sentence: str
    bar_seconds: float = 3600


def chart_of(stats: Mapping[str, Any], height_px: int = CHART_PX) -> Chart:
    """The chart of an answer of ``get_stats``."""
    together = -(-len(stats["buckets"]) // BARS_MAX)
    merged = [stats["buckets"][place : place + together] for place in range(0, len(stats["buckets"]), together)]
    starts = [instant(each[0]["starts_at"]) for each in merged]
    buckets = [{state: sum(each[state] for each in several) for state in _STATES} for several in merged]
    width, span = 100 / len(buckets), together * timedelta(seconds=stats["bucket_seconds"])
    top = _top(max(_height(each) for each in buckets))
    bars = [
        Bar(round(place * width, 3), round(width, 3), _segments(each, top, height_px), _of_bucket(each, start, span))
        for place, (each, start) in enumerate(zip(buckets, starts, strict=True))
        if _height(each)
    ]
    return Chart(bars, _labels(starts, span), top, _sentence(stats["totals"], stats["period"]), span.total_seconds())


def sparkline_of(line: Mapping[str, Any]) -> Chart:
    """The small chart of one endpoint in an answer of ``list_endpoint_stats``; as high as its own busiest hour."""
    hours = [{state: line[state][hour] for state in _STATES} for hour in range(len(line["delivered"]))]
    top = max(1, *(_height(each) for each in hours))
    width = 100 / len(hours)
    bars = [
        Bar(round(place * width, 3), round(width * 0.75, 3), _segments(each, top, SPARKLINE_PX), "")
        for place, each in enumerate(hours)
        if _height(each)
    ]
    totals = {state: sum(line[state]) for state in _STATES}
    return Chart(bars, (), top, _sentence(totals, "24h"))


def _height(bucket: Mapping[str, int]) -> int:
    return sum(bucket[state] for state in _STATES)


def _segments(bucket: Mapping[str, int], top: int, height_px: int) -> Sequence[Segment]:
    """The states, stacked. What the small ones are made higher is taken from what was delivered."""
    heights = {state: bucket[state] / top * height_px for state in _STATES if bucket[state]}
    for state in ("dead", "waiting"):
        if state in heights:
            heights[state] = max(heights[state], min(UNDELIVERED_PX_MIN, height_px / 8))
    too_high = sum(heights.values()) - height_px
    if too_high > 0:
        largest = max(heights, key=lambda state: heights[state])
        heights[largest] -= too_high
    segments, y = [], float(height_px)
    for state, height in heights.items():
        y -= height
        segments.append(Segment(state, round(y, 1), round(height, 1)))
    return segments


def _top(most: int) -> int:
    """The least round and even number that is not exceeded."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= most and step * power % 2 == 0:
                return step * power
        power *= 10


def _labels(starts: Sequence[datetime], span: timedelta) -> Sequence[Label]:
    """Few times that are round, the beginning, and now."""
    whole = starts[-1] + span - starts[0]
    hours = next((each for each in _HOURS_OF_LABELS if whole / timedelta(hours=each) <= _LABELS), _HOURS_OF_LABELS[-1])
    step = timedelta(hours=hours).total_seconds()
    text = "{:%H:%M}" if whole <= timedelta(days=2) else "{0.day} {0:%b}"
    labels = [Label(0, text.format(starts[0]))]
    for each in starts:
        share = (each - starts[0]) / whole
        if each.timestamp() % step == 0 and 0.12 < share < 0.88:  # noqa: PLR2004 - room for the two at the ends
            labels.append(Label(round(100 * share, 2), text.format(each)))
    return [*labels, Label(100, "now")]


def _of_bucket(bucket: Mapping[str, int], start: datetime, span: timedelta) -> str:
    until = start + span
    when = f"{start:%H:%M} to {until:%H:%M}" if span < timedelta(hours=1) else f"{start.day} {start:%b}, {start:%H:%M}"
    return f"{when}: " + ", ".join(f"{number(bucket[state])} {state}" for state in reversed(_STATES) if bucket[state])


def _sentence(totals: Mapping[str, int], period: str) -> str:
    """What the chart shows, for who hears it."""
    over = f"the {PERIODS[period]}"
    if not _height(totals):
        return f"No deliveries in {over}."
    told = [f"{counted(_height(totals), 'delivery', 'deliveries')} in {over}: {number(totals['delivered'])} arrived"]
    for state, (one, more) in _VERBS.items():
        told += [f"{number(totals[state])} {one if totals[state] == 1 else more}"] if totals[state] else []
    return ", ".join(told) + "."
