"""The events that ``listen`` forwards: the past, if it is asked for, then what the stream tells, each once.

What the stream left out is read from the list of events, where the service says that it begins. A list has more than
that: what was forwarded already is known by its id, and what comes later is left to the stream. So the list is read up
to its newest event at the time, and a minute further, for clocks that differ.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from service.cli.live.stream import Backoff, Gap, Lost, Opened, Skipped, Stream, Told, may_pass
from service.cli.remote.client import PAGE_ITEMS, ApiClient, ApiRefusalError, Query, UnreachableError
from service.core.endpoints.filter.filter import Filter, decode_envelope
from service.core.endpoints.subscription import covers
from service.core.timestamp import format_timestamp

PATH: Final = "/v1/events"
LATE: Final = timedelta(minutes=1)
"""How much later than its neighbours an event may appear in the list: transactions take a moment, and clocks differ."""
_SLOW: Final = "slow"
KNOWN_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event, and the bytes to send. ``is_past``: it was received before somebody listened."""

    id: str
    type: str
    body: bytes
    received_at: datetime
    is_past: bool = False


class _Page(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]]
    has_more: bool
    next_cursor: str | None


_pages: Final = msgspec.json.Decoder(_Page)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are forwarded: those that one of ``types``, which may be patterns, covers and the filter passes."""

    types: Collection[str]
    filter: Filter

    @property
    def query(self) -> Query:
        """What the service can leave out by itself: patterns are ours to judge."""
        return {} if any("*" in each for each in self.types) else {"event_type": list(self.types)}

    def has(self, event: Arrived) -> bool:
        """Whether the event is to be forwarded."""
        if not any(covers(each, event.type) for each in self.types):
            return False
        return not self.filter.clauses or self.filter.judge(decode_envelope(event.body)) is None


class Feed:
    """The events, in the order in which they are to be forwarded, and what happened to the stream meanwhile."""

    def __init__(self, client: ApiClient, wanted: Wanted, since: datetime | None = None) -> None:
        self._client = client
        self._wanted = wanted
        self._since = since
        self._known: dict[str, None] = {}

    async def items(self) -> AsyncGenerator[Arrived | Opened | Lost | Gap | Skipped]:
        """Everything from now on, or from ``since``. Raises ``CommandError`` as the stream does."""
        stream = Stream(self._client, {"what": "events", **self._wanted.query})
        async with aclosing(stream.news()) as news:
            async for each in news:
                match each:
                    case Told(data=data):
                        event = _as_told(data)
                        if self._is_new(event):
                            yield event
                        continue
                    case _:
                        yield each
                if (since := self._to_read_from(each)) is not None:
                    async with aclosing(self._listed(since, is_past=isinstance(each, Opened))) as listed:
                        async for found in listed:
                            yield found

    def _to_read_from(self, told: Opened | Lost | Gap | Skipped) -> datetime | None:
        """From when on the list has what the stream will not tell; None: nothing."""
        match told:
            case Opened(after_seconds=None):
                return self._since
            case Gap(reason, str(events)):
                [since] = parse_qs(urlsplit(events).query)["since"]
                # It is the first event's own time if we were slow, else when we had been told so much.
                return datetime.fromisoformat(since) - (timedelta(0) if reason == _SLOW else LATE)
            case _:
                return None

    async def _listed(self, since: datetime, *, is_past: bool) -> AsyncGenerator[Arrived | Lost | Opened]:
        """What the list has from ``since`` on. If the service is away, this waits until it is back."""
        asked: Query = {"order": "desc", "limit": 1}
        until, backoff, lost_at = None, Backoff(), None
        while True:
            try:
                page: _Page = await self._client.get(PATH, {**self._wanted.query, **asked}, decode=_pages.decode)
            except (UnreachableError, ApiRefusalError) as error:
                if not may_pass(error):
                    raise
                if lost_at is None:
                    lost_at = monotonic()
                    yield Lost(str(error))
                await backoff.wait()
                continue
            if lost_at is not None:
                yield Opened(monotonic() - lost_at)
                lost_at = None
            if until is None:
                if not page.data:
                    return
                until = _received_at(page.data[0]) + LATE
                times = {"since": format_timestamp(since), "until": format_timestamp(until)}
                asked = {"order": "asc", "limit": PAGE_ITEMS, **times}
                continue
            for fields in page.data:
                event = _as_listed(fields, is_past=is_past)
                if self._is_new(event):
                    yield event
            if not page.has_more:
                return
            asked = {**asked, "cursor": page.next_cursor}

    def _is_new(self, event: Arrived) -> bool:
        """Whether the event is wanted and was not forwarded yet."""
        if event.id in self._known or not self._wanted.has(event):
            return False
        self._known[event.id] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return True


def _as_told(data: Mapping[str, Any]) -> Arrived:
    return Arrived(data["id"], data["type"], data["body"].encode(), datetime.fromisoformat(data["received_at"]))


def _as_listed(fields: dict[str, msgspec.Raw], *, is_past: bool) -> Arrived:
    """The envelope again, from the list's item: the same fields and values; spaces between them may be others."""
    received_at = _received_at(fields)
    kept = [(msgspec.json.encode(name), bytes(raw)) for name, raw in fields.items() if name != _ADDED]
    body = b",".join([b"%b:%b" % each for each in kept])
    event_id, event_type = (msgspec.json.decode(fields[name], type=str) for name in ("id", "type"))
    return Arrived(event_id, event_type, b"{%b}" % body, received_at, is_past)


_ADDED: Final = "received_at"


def _received_at(fields: dict[str, msgspec.Raw]) -> datetime:
    return datetime.fromisoformat(msgspec.json.decode(fields[_ADDED], type=str))
