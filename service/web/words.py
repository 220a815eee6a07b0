"""How times, numbers, URLs and ids are written on pages (templates use them as filters)."""

import json as json_
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from service.core.wording import duration

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

PERIODS: Final = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days"}
"""What each period is called: "the last hour"."""
NO_FIGURE: Final = "\N{EN DASH}"
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)", re.ASCII)

INDENTED_CHARACTERS_MAX: Final = 16_384
ID_CHARACTERS_MAX: Final = 22
"""A longer id is cut in the middle; what is copied is whole."""


def instant(value: str | datetime) -> datetime:
    """The instant that a field of an answer has."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).astimezone(UTC)


@pass_context
def ago(context: Context, value: str | datetime | None) -> Markup:
    """A time in relation to now, "38 min ago" or "in 8 min", with the exact one on hover; "" for None."""
    if value is None:
        return Markup("")
    at = instant(value)
    return _time(at, relative((at - context["now"]).total_seconds()))


@pass_context
def due(context: Context, value: str | datetime | None) -> Markup:
    """When something is due: "in 8 min", or "now" if its time has come; "" for None."""
    if value is None:
        return Markup("")
    when = instant(value)
    return _time(when, relative(max(0.0, (when - context["now"]).total_seconds())))


@pass_context
def at(context: Context, value: str | datetime | None) -> Markup:
    """A time of day, "14:02", or a day, "3 Nov", where it was not today; with the exact time on hover; "" for None."""
    return _clock(context, value, "%H:%M")


@pass_context
def at_second(context: Context, value: str | datetime | None) -> Markup:
    """The same to the second: attempts follow one another within a minute."""
    return _clock(context, value, "%H:%M:%S")


def _clock(context: Context, value: str | datetime | None, clock: str) -> Markup:
    if value is None:
        return Markup("")
    when, now = instant(value), context["now"]
    if when.date() == now.date():
        text = when.strftime(clock)
    elif abs(when - now) < timedelta(days=300):
        text = f"{when.day} {_MONTHS[when.month - 1]}, {when.strftime(clock)}"
    else:
        text = f"{when.day} {_MONTHS[when.month - 1]} {when.year}"
    return _time(when, text)


@pass_context
def with_times(context: Context, sentence: str) -> Markup:
    """A sentence of the API's, with its times as pages write them. What only looks like a time stays as it is."""
    parts = _MOMENT.split(sentence)
    return Markup("").join(_at_if_any(context, part) if number % 2 else part for number, part in enumerate(parts))


def _at_if_any(context: Context, text: str) -> str:
    try:
        return at_second(context, text)
    except ValueError:
        return text


def relative(seconds: float) -> str:
    """How far a time is from now, in words; negative seconds are past."""
    distance = abs(seconds)
    if distance < 1:
        return "now"
    words = span(distance)
    return f"in {words}" if seconds > 0 else f"{words} ago"


def span(seconds: float) -> str:
    """A time's length in its largest unit: "12 s", "38 min", "3 h", "5 days"."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"


@pass_context
def since(context: Context, value: str | datetime) -> str:
    """How long ago a time was, without "ago": "5 h 40 min"; to the minute below a day."""
    seconds = max(0.0, (context["now"] - instant(value)).total_seconds())
    hours, minutes = divmod(int(seconds // _MINUTE), 60)
    return f"{hours} h {minutes:02d} min" if 1 <= hours < 24 else span(seconds)  # noqa: PLR2004 - hours of a day


@pass_context
def until(context: Context, value: str | datetime) -> str:
    """How long it is until a time, without "in": "21 h 14 min", as ``since`` tells what is past."""
    return since(context, context["now"] - (instant(value) - context["now"]))


def number(value: float | None) -> str:
    """A count with a comma between thousands; a dash for None."""
    return NO_FIGURE if value is None else f"{value:,}"


def in_words(count: int) -> str:
    """A small count as a word, as titles have it: "no", "seven", "12"."""
    return _NUMBERS[count] if count < len(_NUMBERS) else number(count)


def percent(value: float | None) -> str:
    """A share of one: "99.97 %", "100 %"; a dash for None. What is not quite all is never written as all."""
    if value is None:
        return NO_FIGURE
    if value >= 1:
        return "100 %"
    return f"{min(value * 100, 99.99):.2f} %"


def url(value: str) -> Markup:
    """A URL, host first and its path after it, where it may break."""
    scheme, (netloc, rest) = urlsplit(value).scheme, host_and_rest(value)
    shown = netloc if scheme == "https" else f"{scheme}://{netloc}"
    return Markup('<span class="url"><b>{}</b><wbr><span>{}</span></span>').format(shown, rest)


def host_and_rest(value: str) -> tuple[str, str]:
    """The host of a URL, and all that follows it."""
    netloc = urlsplit(value).netloc
    return netloc, value.partition("://")[2].removeprefix(netloc) if netloc else value


def host(value: str) -> str:
    """The host of a URL."""
    return urlsplit(value).netloc or value


def pretty(value: object) -> str:
    """A value as indented JSON."""
    return json(msgspec.json.encode(value).decode())


def json(text: str) -> str:
    """JSON as it is stored, indented where that stays small; numbers keep their notation.

    Deep lists would grow sixtyfold, and hold up everybody while they do.
    """
    return msgspec.json.format(text.encode(), indent=2 if len(text) <= INDENTED_CHARACTERS_MAX else 0).decode()


def cut(value: str, characters_max: int = ID_CHARACTERS_MAX) -> str:
    """An id, cut in the middle if it is longer."""
    half = characters_max // 2
    return value if len(value) <= characters_max else f"{value[: half + 1]}…{value[-half + 2 :]}"


def short(value: str) -> Markup:
    """An id, cut in the middle if it is long, that is copied whole by a click."""
    return Markup('<code class="id" data-copy="{}" title="{}">{}</code>').format(value, value, cut(value))


def bytes_(value: int | None) -> str:
    """A size: "312 bytes", "1.4 kB", "2.0 MB"; "" for None."""
    if value is None:
        return ""
    if value < 1000:  # noqa: PLR2004 - bytes in a kilobyte
        return f"{value} bytes" if value != 1 else "1 byte"
    if value < 999_950:  # noqa: PLR2004 - from there on it would be written as 1000.0 kB
        return f"{value / 1000:.1f} kB"
    return f"{value / 1_000_000:.1f} MB"


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun: "1 endpoint", "7 endpoints", "No endpoints"."""
    plural = nouns or f"{noun}s"
    return f"No {plural}" if count == 0 else f"1 {noun}" if count == 1 else f"{number(count)} {plural}"


def capitalize_first(text: str) -> str:
    """The text with a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def plain_json(value: object) -> str:
    """A value as JSON on one line; the template escapes it, as any text."""
    return json_.dumps(value, ensure_ascii=False)


def _time(when: datetime, text: str) -> Markup:
    exact = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(when.isoformat(), exact, text)


FILTERS: Final[dict[str, Any]] = {
    "ago": ago,
    "at": at,
    "at_second": at_second,
    "bytes": bytes_,
    "capitalize_first": capitalize_first,
    "counted": counted,
    "cut": cut,
    "due": due,
    "duration": duration,
    "host": host,
    "plain_json": plain_json,
    "number": number,
    "percent": percent,
    "pretty": pretty,
    "short": short,
    "since": since,
    "span": span,
    "until": until,
    "url": url,
    "with_times": with_times,
}
