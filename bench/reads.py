"""How long lists take: every verb of the readers with every filter, with random parameters from a seeded database.

    python -m bench.reads --database-url postgresql://…/seeded [--runs 200] [--json reads.json]

The database must have been filled by bench.seed. Exits with an error if a plan scans a whole big table.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.plans import listening, seq_scans
from bench.seed import LARGE, endpoint_id
from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.events.reader import EventReader
from service.adapters.postgres.events.story import StoryReader
from service.adapters.postgres.stats.reader import StatsReader
from service.cli.database import NoSecretBox
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.story import Section, StoryPage
from service.core.deliveries.view import DeliveryFilter
from service.core.events.registry import REGISTRY
from service.core.events.scope import ScopeName, ScopeWanted
from service.core.events.uid import first_uid_from
from service.core.events.view import EventFilter
from service.core.reason import Reason
from service.core.stats.period import PERIODS, PeriodName
from service.core.walk import Walk
from service.settings import load_settings

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figures:
    """How long one kind of query took, in milliseconds."""

    question: str
    p50_ms: float
    p99_ms: float
    most_ms: float
    seq_scans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the seeded database contains, to draw parameters from."""

    organizations: Sequence[str]
    since: datetime
    until: datetime
    events: Sequence[asyncpg.Record]
    deliveries: Sequence[asyncpg.Record]


class Questions:
    """Every query, with parameters drawn anew each time it runs."""

    def __init__(self, engine: AsyncEngine, known: Known, draw: random.Random) -> None:
        self._deliveries = DeliveryReader(engine)
        self._events = EventReader(engine)
        self._explain = StoryReader(engine)
        self._endpoints = EndpointStore(engine, NoSecretBox(), load_settings({}).endpoint_rules)
        self._health = EndpointHealth(engine)
        self._stats = StatsReader(engine)
        self._resthooks = ResthookReader(engine, NoSecretBox())
        self._known = known
        self._draw = draw

    def all(self) -> Mapping[str, Ask]:
        """All queries, by name."""
        found: dict[str, Ask] = {}
        for size in ("large", "small"):
            found |= {f"{size}: {name}": self._of(size, ask) for name, ask in self._lists().items()}
        return found | {
            "one event": self._find,
            "one delivery": self._show,
            "explain": self._explained,
            "message": self._message,
            "every organization's deliveries (CLI)": lambda: self._deliveries.list(DeliveryFilter(), Walk(51)),
        }

    def _of(self, size: str, ask: Callable[[str], Awaitable[object]]) -> Ask:
        small = [each for each in self._known.organizations if each != LARGE]
        return lambda: ask(LARGE if size == "large" else self._draw.choice(small))

    def _lists(self) -> Mapping[str, Callable[[str], Awaitable[object]]]:
        filters: dict[str, Callable[[str], dict[str, Any]]] = {
            "all": lambda _: {},
            "event type": lambda _: {"event_types": [self._type()]},
            "rare event type": lambda _: {"event_types": ["link.clicked"]},
            "type that never occurs": lambda _: {"event_types": ["order.placed"]},
            "endpoint": lambda o: {"endpoint_ids": [self._endpoint(o)]},
            "unknown endpoint": lambda _: {"endpoint_ids": ["ep_unknown"]},
            "endpoint, type": lambda o: {"endpoint_ids": [self._endpoint(o)], "event_types": [self._type()]},
            "endpoint, dead": lambda o: {"endpoint_ids": [self._endpoint(o)], "states": [State("dead")]},
            "healthy endpoint, dead": lambda o: {"endpoint_ids": [endpoint_id(o, 1)], "states": [State("dead")]},
            "dead endpoint, delivered": lambda o: {"endpoint_ids": [endpoint_id(o, 0)], "states": [State("delivered")]},
            "endpoint, 404": lambda o: {"endpoint_ids": [self._endpoint(o)], "statuses": [(404, 404)]},
            "endpoint, pending": lambda o: {"endpoint_ids": [self._endpoint(o)], "states": [State("pending")]},
            "delivered": lambda _: {"states": [State("delivered")]},
            "pending": lambda _: {"states": [State("pending")]},
            "leased": lambda _: {"states": [State("leased")]},
            "dead": lambda _: {"states": [State("dead")]},
            "cancelled": lambda _: {"states": [State("cancelled")]},
            "dead, type": lambda _: {"states": [State("dead")], "event_types": [self._type()]},
            "reason": lambda _: {"reasons": [Reason("age_exceeded")]},
            "reason that never occurs": lambda _: {"reasons": [Reason("crashes_worker")]},
            "status 200": lambda _: {"statuses": [(200, 200)]},
            "status 204": lambda _: {"statuses": [(204, 204)]},
            "status 503": lambda _: {"statuses": [(503, 503)]},
            "status that never occurs": lambda _: {"statuses": [(418, 418)]},
            "pending, status that never occurs": lambda _: {"states": [State("pending")], "statuses": [(418, 418)]},
            "since": lambda _: {"since": self._time()},
            "until": lambda _: {"until": self._time()},
            "an hour": lambda _: self._hour(),
            "two types": lambda _: {"event_types": ["message.sent", "link.clicked"]},
            "dead or cancelled": lambda _: {"states": [State.DEAD, State.CANCELLED]},
            "dead or pending": lambda _: {"states": [State.DEAD, State.PENDING]},
            "status 5xx": lambda _: {"statuses": [(500, 599)]},
            "status 2xx": lambda _: {"statuses": [(200, 299)]},
            "status 4xx or 503": lambda _: {"statuses": [(400, 499), (503, 503)]},
            "three endpoints": lambda o: {"endpoint_ids": sorted({self._endpoint(o) for _ in range(3)})},
            "endpoint, 5xx": lambda o: {"endpoint_ids": [self._endpoint(o)], "statuses": [(500, 599)]},
            "campaign": lambda _: {"scope": self._campaign()},
            "campaign, dead": lambda _: {"scope": self._campaign(), "states": [State.DEAD]},
            "campaign, pending": lambda _: {"scope": self._campaign(), "states": [State.PENDING]},
            "twenty endpoints": lambda o: {"endpoint_ids": [endpoint_id(o, number) for number in range(20)]},
            "message": lambda _: {"message_id": self._draw.choice(self._known.events)["message_id"]},
            "an hour, dead": lambda _: {**self._hour(), "states": [State("dead")]},
        }
        return {
            **{f"deliveries, {name}": self._list(make) for name, make in filters.items()},
            "deliveries, of one event": lambda o: self._deliveries.list(
                DeliveryFilter(o, event_id=self._draw.choice(self._known.events)["event_id"]), Walk(51)
            ),
            "deliveries, going on": lambda o: self._deliveries.list(
                DeliveryFilter(o), Walk(51, DeliveryKey(first_uid_from(self._time()), 5))
            ),
            "deliveries, going on at an endpoint": lambda o: self._deliveries.list(
                DeliveryFilter(o, [self._endpoint(o)]), Walk(51, DeliveryKey(first_uid_from(self._time()), 5))
            ),
            "deliveries, oldest first": lambda o: self._deliveries.list(
                DeliveryFilter(o), Walk(51, DeliveryKey(first_uid_from(self._time()), 5), is_descending=False)
            ),
            "endpoints, with their health": self._list_endpoints,
            "stats of an endpoint": self._stats_of(timedelta(hours=24)),
            "stats of an endpoint, 168 h": self._stats_of(timedelta(hours=168)),
            **{f"overview, {name}": self._overview(name) for name in PERIODS},
            "overview of an endpoint, 30d": lambda o: self._stats.overview(
                o, PERIODS[PeriodName.MONTH], self._endpoint(o)
            ),
            "sparklines of 40 endpoints": lambda o: self._stats.sparklines(o, [endpoint_id(o, n) for n in range(40)]),
            "v2, resthooks": lambda o: self._resthooks.list_resthooks(o, _walk(251)),
            "v2, subscribers": lambda o: self._resthooks.list_subscribers(o, _walk(251)),
            "v2, events": lambda o: self._resthooks.list_events(o, _walk(51)),
            "v2, events of a resthook": lambda o: self._resthooks.list_events(o, _walk(51), resthook=self._type()),
            "events, all": lambda o: self._events.list(EventFilter(o), Walk(51)),
            "events, type": lambda o: self._events.list(EventFilter(o, [self._type()]), Walk(51)),
            "events, two types": lambda o: self._events.list(
                EventFilter(o, ["message.sent", "link.clicked"]), Walk(51)
            ),
            "events, message": lambda o: self._events.list(
                EventFilter(o, (), self._draw.choice(self._known.events)["message_id"]), Walk(51)
            ),
            "events, campaign": lambda o: self._events.list(EventFilter(o, scope=self._campaign()), Walk(51)),
            "events, campaign, type": lambda o: self._events.list(
                EventFilter(o, [self._type()], scope=self._campaign()), Walk(51)
            ),
            "events, oldest first": lambda o: self._events.list(
                EventFilter(o), Walk(51, first_uid_from(self._time()), is_descending=False)
            ),
            "events, 200 of them": lambda o: self._events.list(EventFilter(o), Walk(201)),
            "events, an hour": lambda o: self._events.list(self._of_an_hour(o), Walk(51)),
            "events, going on": lambda o: self._events.list(EventFilter(o), Walk(51, first_uid_from(self._time()))),
        }

    def _list(self, make: Callable[[str], dict[str, Any]]) -> Callable[[str], Awaitable[object]]:
        return lambda organization_id: self._deliveries.list(
            DeliveryFilter(**{"organization_id": organization_id, **make(organization_id)}), Walk(51)
        )

    def _overview(self, name: PeriodName) -> Callable[[str], Awaitable[object]]:
        return lambda organization_id: self._stats.overview(organization_id, PERIODS[name])

    async def _list_endpoints(self, organization_id: str) -> object:
        rows = await self._endpoints.list(organization_id, Walk(201))
        return await self._health.of(organization_id, [row.id for row in rows], self._known.until - timedelta(hours=24))

    def _stats_of(self, window: timedelta) -> Callable[[str], Awaitable[object]]:
        return lambda o: self._health.stats(o, self._endpoint(o), self._known.until - window)

    def _campaign(self) -> ScopeWanted:
        return ScopeWanted(ScopeName.CAMPAIGN, [f"camp_{self._draw.randrange(20)}"])

    def _type(self) -> str:
        return self._draw.choice(list(REGISTRY))

    def _endpoint(self, organization_id: str) -> str:
        return endpoint_id(organization_id, self._draw.randrange(40 if organization_id == LARGE else 3))

    def _time(self) -> datetime:
        return self._known.since + self._draw.random() * (self._known.until - self._known.since)

    def _hour(self) -> dict[str, datetime]:
        since = self._time()
        return {"since": since, "until": since + timedelta(hours=1)}

    def _of_an_hour(self, organization_id: str) -> EventFilter:
        hour = self._hour()
        return EventFilter(organization_id, since=hour["since"], until=hour["until"])

    async def _find(self) -> object:
        event = self._draw.choice(self._known.events)
        return await self._events.find(event["organization_id"], event["event_id"])

    async def _explained(self) -> object:
        event = self._draw.choice(self._known.events)
        return await self._explain.read(
            event["organization_id"], event["event_id"], StoryPage(frozenset(Section), Walk(51, is_descending=False))
        )

    async def _message(self) -> object:
        event = self._draw.choice(self._known.events)
        return await self._events.about_message(event["organization_id"], event["message_id"])

    async def _show(self) -> object:
        row = self._draw.choice(self._known.deliveries)
        key = DeliveryKey(row["event_uid"], row["subscription_id"])
        return await self._deliveries.show(key, row["organization_id"])


def _walk(limit: int) -> Walk[Any]:
    return Walk(limit)


async def look_around(connection: asyncpg.Connection, draw: random.Random) -> Known:
    """Read what the database contains, to draw parameters from."""
    organizations = [row["id"] for row in await connection.fetch("SELECT id FROM organizations ORDER BY id")]
    since, until = await connection.fetchrow("SELECT min(received_at), max(received_at) FROM events")
    near = UUID(int=first_uid_from(since + draw.random() * (until - since)).int)
    events = await connection.fetch("SELECT * FROM events WHERE uid > $1 ORDER BY uid LIMIT 2000", near)
    deliveries = await connection.fetch("SELECT * FROM final_deliveries WHERE event_uid > $1 LIMIT 2000", near)
    return Known(organizations, since, until, events, deliveries)


async def measure(url: str, runs: int, seed: int) -> list[Figures]:
    """Run every query ``runs`` times, and check the plans of its statements."""
    draw = random.Random(seed)  # noqa: S311 - parameters, no secrets
    engine = connect(url, pool_size=1)
    async with driver(engine) as connection:
        known = await look_around(connection, draw)
    figures = []
    for name, ask in Questions(engine, known, draw).all().items():
        took = []
        for _ in range(runs):
            started = time.perf_counter()
            await ask()
            took.append((time.perf_counter() - started) * 1000)
        async with listening(engine) as ran:
            await ask()
        async with driver(engine) as connection:
            scans = {each for statement, given in ran.items() for each in await seq_scans(connection, statement, given)}
        took.sort()
        p50, p99, most = (round(took[int(len(took) * share)], 2) for share in (0.5, 0.99, 1 - 1e-9))
        figures.append(Figures(name, p50, p99, most, tuple(sorted(scans))))
        print(f"{name:55}{p50:>10}{p99:>10}{most:>10}   {' '.join(sorted(scans))}", flush=True)
    await engine.dispose()
    return figures


def main() -> None:
    """Measure, print a table, and fail if a big table is scanned whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    print(f"{'':55}{'p50 ms':>10}{'p99 ms':>10}{'most ms':>10}   Seq Scan")
    figures = asyncio.run(measure(options.database_url, options.runs, options.seed))
    if options.json:
        rows = [{name: getattr(each, name) for name in Figures.__slots__} for each in figures]
        Path(options.json).write_text(json.dumps({"runs": options.runs, "questions": rows}, indent=1) + "\n")
    scanned = [each.question for each in figures if each.seq_scans]
    if scanned:
        raise SystemExit(f"scanned whole: {', '.join(scanned)}")


if __name__ == "__main__":
    main()
