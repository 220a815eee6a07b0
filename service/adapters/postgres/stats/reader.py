"""The overview, from the counts of what has ended, what has ended since they were made, and what is open.

All of it is read in one snapshot, in which each delivery is in exactly one of the three.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.list import IN_INDEX_ORDER
from service.adapters.postgres.endpoints.gates.gates import GATES_OF_E, gates_of
from service.adapters.postgres.endpoints.health import EndpointHealth
from service.adapters.postgres.engine import driver
from service.adapters.postgres.stats.counting import BEGINNING, IS_MEASURED, SLOT
from service.core.endpoints.gates.gate import Gate, that_hold
from service.core.events.uid import first_uid_from
from service.core.stats.overview import (
    Backlog,
    Counts,
    FailingEndpoint,
    HealedEndpoint,
    HeldEndpoint,
    Overview,
    ReceiverTimes,
    Sparkline,
)
from service.core.stats.period import SPARKLINE, Period

OPEN_MAX: Final = 10_000
"""Open deliveries that are looked at for one answer; an exact number beyond that would take too long."""
NAMED_MAX: Final = 20
"""Failing endpoints, and healed ones, that an answer names."""
_HEALTH_WINDOW: Final = timedelta(hours=24)
_WHOLE_ORGANIZATION: Final = ""

_PROGRESS: Final = """
SELECT now() AS at, counted_from, counted_until FROM (SELECT) AS always LEFT JOIN counts_progress ON true
"""

# $1 organization, $2 endpoints, or '' for all of the organization; $3 width in seconds; $4 since
_COUNTED: Final = """
SELECT endpoint_id, starts_at, delivered, dead, cancelled, time_slots, time_attempts FROM delivery_counts
 WHERE organization_id = $1 AND endpoint_id = ANY ($2::text[]) AND width_seconds = $3 AND starts_at >= $4
"""
# $3 the first uid of each bucket: 0 is before the first one. To compare uids costs less than to read times from them.
_PLACE: Final = "width_bucket(event_uid, $3::uuid[])"
# $1 organization, $2 endpoints, or null; $3 buckets; $4 the first uid; $5 ended since. One row a bucket and state, and
# one a slot of times.
_ENDED_SINCE: Final = f"""
WITH ended AS MATERIALIZED (
    SELECT event_uid, subscription_id, replay_number, endpoint_id, state, {_PLACE} AS place FROM final_deliveries
     WHERE ended_at >= $5 AND event_uid >= $4 AND organization_id = $1
       AND ($2::text[] IS NULL OR endpoint_id = ANY ($2))
)
SELECT endpoint_id, place, state, NULL::smallint AS slot, count(*) AS n FROM ended GROUP BY endpoint_id, place, state
 UNION ALL
SELECT NULL, NULL, NULL, slot, count(*)
  FROM ended e CROSS JOIN LATERAL (
       SELECT {SLOT} AS slot FROM attempts a
        WHERE a.event_uid = e.event_uid AND a.subscription_id = e.subscription_id
          AND a.replay_number = e.replay_number AND {IS_MEASURED} OFFSET 0) AS measured
 GROUP BY slot
"""  # noqa: S608 - constants only

# What a worker is sending to an endpoint that was just removed is open until it is settled.
_ITS_ENDPOINTS: Final = """its AS (
    SELECT id FROM endpoints
     WHERE organization_id = $1 AND ($2::text[] IS NULL OR id = ANY ($2))
       AND (removed_at IS NULL OR removed_at > now() - interval '1 day'))"""
# $1 organization, $2 endpoints, or null; $3 buckets; $4 how many of each endpoint, $5 how many in all
_OPEN: Final = f"""
WITH {_ITS_ENDPOINTS}
SELECT endpoint_id, place, attempts_recorded > 0 AS is_tried, count(*) AS n, count(*) FILTER (WHERE is_due) AS due
  FROM (SELECT o.* FROM its CROSS JOIN LATERAL (
            SELECT endpoint_id, attempts_recorded, state = 'pending' AND next_attempt_at <= now() AS is_due,
                   {_PLACE} AS place
              FROM open_deliveries d WHERE d.endpoint_id = its.id ORDER BY d.event_uid LIMIT $4) AS o
         LIMIT $5) AS looked_at
 GROUP BY endpoint_id, place, is_tried
"""  # noqa: S608 - constants only
_OLDEST_DUE: Final = f"""
WITH {_ITS_ENDPOINTS}
SELECT min(due.next_attempt_at) FROM its CROSS JOIN LATERAL (
       SELECT next_attempt_at FROM open_deliveries d WHERE d.endpoint_id = its.id AND d.state = 'pending'
          AND d.next_attempt_at <= now() ORDER BY d.next_attempt_at LIMIT 1) AS due
"""  # noqa: S608 - constants only

# Those with trouble only: most endpoints have neither a gate nor a breaker.
_STANDING: Final = f"""
SELECT e.id, e.url, {GATES_OF_E} AS gates, b.failing_since, b.attempts_failed
  FROM endpoints e LEFT JOIN breakers b ON b.endpoint_id = e.id
 WHERE e.organization_id = $1 AND e.removed_at IS NULL AND ($2::text[] IS NULL OR e.id = ANY ($2))
   AND (b.failing_since IS NOT NULL OR EXISTS (SELECT FROM gates g WHERE g.endpoint_id = e.id AND g.until > now()))
"""  # noqa: S608 - constants only
_ENDPOINTS_COUNT: Final = """
SELECT count(*) FROM endpoints
 WHERE organization_id = $1 AND removed_at IS NULL AND ($2::text[] IS NULL OR id = ANY ($2))
"""
# $1 organization, $2 endpoints, or null; $3 width; $4 since; $5 the limit
_HEALED: Final = """
WITH buckets AS MATERIALIZED (
    SELECT endpoint_id, deliveries, attempts_max, healed_at, reason, status FROM healed_counts
     WHERE organization_id = $1 AND width_seconds = $3 AND starts_at >= $4
       AND ($2::text[] IS NULL OR endpoint_id = ANY ($2))
), healed AS (
    SELECT endpoint_id, sum(deliveries)::int AS deliveries, max(attempts_max) AS attempts_max,
           max(healed_at) AS healed_at
      FROM buckets GROUP BY endpoint_id
), latest AS (  -- by its time, not by sorting all buckets
    SELECT DISTINCT ON (endpoint_id) healed.*, reason, status
      FROM healed JOIN buckets USING (endpoint_id, healed_at) ORDER BY endpoint_id
)
SELECT h.*, e.url FROM latest h JOIN endpoints e ON e.id = h.endpoint_id AND e.removed_at IS NULL
 ORDER BY h.healed_at DESC LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class _Standing:
    """An endpoint with trouble."""

    id: str
    url: str
    gates: tuple[Gate, ...]
    failing_since: datetime | None
    attempts_failed: int

    @property
    def next_probe_at(self) -> datetime | None:
        """When the next attempt may be made, if a gate that opens by itself keeps it until then."""
        return max((each.until for each in self.gates if each.until is not None), default=None)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for: ``endpoint_ids`` None for all of the organization."""

    organization_id: str
    endpoint_ids: Sequence[str] | None
    period: Period


class StatsReader:
    """Implements ``StatsDesk``; only reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._health = EndpointHealth(engine)

    async def overview(self, organization_id: str, period: Period, endpoint_id: str | None = None) -> Overview:
        """The organization's figures, or those of one of its endpoints."""
        wanted = _Wanted(organization_id, None if endpoint_id is None else [endpoint_id], period)
        async with driver(self._engine) as connection, _snapshot(connection):
            found = _Reading(wanted, connection, await connection.fetchrow(_PROGRESS))
            await found.read_counted([_WHOLE_ORGANIZATION] if endpoint_id is None else [endpoint_id])
            healed = await found.healed()
            await connection.execute(IN_INDEX_ORDER)
            await found.read_ended_since()
            await found.read_standing()
            await found.read_open(OPEN_MAX, OPEN_MAX)
            oldest = await connection.fetchval(_OLDEST_DUE, organization_id, wanted.endpoint_ids)
            count = await connection.fetchval(_ENDPOINTS_COUNT, organization_id, wanted.endpoint_ids)
        failing = found.failing()
        return Overview(
            period=period,
            since=found.since,
            at=found.at,
            complete_since=found.complete_since,
            buckets=found.total(),
            times=ReceiverTimes(found.slots),
            backlog=replace(found.backlog, oldest_due_at=oldest),
            endpoints_count=count,
            held=found.held(),
            failing_count=len(failing),
            failing=await self._with_last_failures(organization_id, failing[:NAMED_MAX], found.at),
            healed=healed,
        )

    async def sparklines(self, organization_id: str, endpoint_ids: Sequence[str]) -> Mapping[str, Sparkline]:
        """The last 24 hours of each of these endpoints, by the hour; empty for one that does not exist."""
        wanted = _Wanted(organization_id, list(endpoint_ids), SPARKLINE)
        async with driver(self._engine) as connection, _snapshot(connection):
            found = _Reading(wanted, connection, await connection.fetchrow(_PROGRESS))
            await found.read_counted(endpoint_ids)
            await connection.execute(IN_INDEX_ORDER)
            await found.read_ended_since()
            await found.read_standing()
            await found.read_open(max(1, OPEN_MAX // max(1, len(endpoint_ids))), OPEN_MAX)
        return {each: Sparkline(found.of(each), found.open_by_endpoint[each]) for each in endpoint_ids}

    async def _with_last_failures(
        self, organization_id: str, failing: Sequence[FailingEndpoint], at: datetime
    ) -> Sequence[FailingEndpoint]:
        ids = [each.endpoint_id for each in failing]
        health = await self._health.of(organization_id, ids, at - _HEALTH_WINDOW) if ids else {}
        return [
            replace(
                each,
                reason=health[each.endpoint_id].last_failure_reason,
                status=health[each.endpoint_id].last_failure_status,
            )
            for each in failing
        ]


class _Reading:
    """What was read so far, of one snapshot."""

    def __init__(self, wanted: _Wanted, connection: asyncpg.Connection, progress: asyncpg.Record) -> None:
        self._wanted = wanted
        self._connection = connection
        self.at: datetime = progress["at"]
        self._counted_until: datetime | None = progress["counted_until"]
        self._counted_from: datetime | None = progress["counted_from"]
        self.since = wanted.period.starts_at(self.at)
        self._starts = wanted.period.buckets(self.at)
        self._first_uids = [first_uid_from(each) for each in self._starts]
        self._buckets: dict[str, dict[datetime, Counts]] = {}
        self._standing: dict[str, _Standing] = {}
        self.slots: Counter[int] = Counter()
        self.open_by_endpoint: Counter[str] = Counter()
        self.backlog = Backlog()

    @property
    def complete_since(self) -> datetime | None:
        """None if all that ended in the period is counted."""
        if self._counted_from is None:
            return self.at
        return self._counted_from if self._counted_from > max(self.since, BEGINNING) else None

    async def read_counted(self, counted_as: Sequence[str]) -> None:
        """Read what is counted of what has ended, as these endpoints.

        Not ``IN_INDEX_ORDER``: without a bitmap of one's rows the planner would rather read those of all.
        """
        owner, width = self._wanted.organization_id, self._wanted.period.bucket_seconds
        for row in await self._connection.fetch(_COUNTED, owner, counted_as, width, self.since):
            counts = Counts(delivered=row["delivered"], dead=row["dead"], cancelled=row["cancelled"])
            self._bucket(row["endpoint_id"], row["starts_at"]).add(counts)
            self.slots.update(dict(zip(row["time_slots"], row["time_attempts"], strict=True)))

    async def read_ended_since(self) -> None:
        """Read what has ended since then."""
        owner, ids = self._wanted.organization_id, self._wanted.endpoint_ids
        if self._counted_until is None:
            return
        uids = self._first_uids
        for row in await self._connection.fetch(_ENDED_SINCE, owner, ids, uids, uids[0], self._counted_until):
            if row["slot"] is not None:
                self.slots[row["slot"]] += row["n"]
            else:
                bucket = self._bucket(row["endpoint_id"], self._starts[row["place"] - 1])
                setattr(bucket, row["state"], getattr(bucket, row["state"]) + row["n"])

    async def read_standing(self) -> None:
        """Read which endpoints have gates or fail."""
        rows = await self._connection.fetch(_STANDING, self._wanted.organization_id, self._wanted.endpoint_ids)
        for row in rows:
            gates = that_hold(gates_of(row["gates"]))
            self._standing[row["id"]] = _Standing(
                row["id"], row["url"], gates, row["failing_since"], row["attempts_failed"] or 0
            )

    async def read_open(self, of_each_max: int, in_all_max: int) -> None:
        """Read what is open."""
        wanted = self._wanted
        rows = await self._connection.fetch(
            _OPEN,
            wanted.organization_id,
            wanted.endpoint_ids,
            self._first_uids,
            of_each_max,
            in_all_max,
        )
        due = held = 0
        for row in rows:
            endpoint_id, n = row["endpoint_id"], row["n"]
            standing = self._standing.get(endpoint_id)
            is_held = standing is not None and bool(standing.gates)
            self.open_by_endpoint[endpoint_id] += n
            due += row["due"]
            held += n * is_held
            if row["place"]:
                is_waiting = row["is_tried"] or is_held
                self._bucket(endpoint_id, self._starts[row["place"] - 1]).add(
                    Counts(waiting=n) if is_waiting else Counts(fresh=n)
                )
        in_all = self.open_by_endpoint.total()
        self.backlog = Backlog(in_all, due, held, is_capped=in_all >= in_all_max)

    async def healed(self) -> Sequence[HealedEndpoint]:
        """The endpoints at which deliveries arrived after failures, the latest first."""
        wanted = self._wanted
        rows = await self._connection.fetch(
            _HEALED,
            wanted.organization_id,
            wanted.endpoint_ids,
            wanted.period.bucket_seconds,
            self.since,
            NAMED_MAX,
        )
        return [
            HealedEndpoint(
                row["endpoint_id"],
                row["url"],
                row["deliveries"],
                row["attempts_max"],
                row["healed_at"],
                row["reason"],
                row["status"],
            )
            for row in rows
        ]

    def failing(self) -> Sequence[FailingEndpoint]:
        """Those that fail, the one with most open deliveries first."""
        found = [
            FailingEndpoint(
                each.id,
                each.url,
                each.failing_since,
                each.attempts_failed,
                self.open_by_endpoint[each.id],
                next_probe_at=each.next_probe_at,
            )
            for each in self._standing.values()
            if each.failing_since is not None
        ]
        return sorted(found, key=lambda each: (-each.open, each.since, each.endpoint_id))

    def held(self) -> Sequence[HeldEndpoint]:
        """The gates that hold, those with most open deliveries behind them first."""
        found = [
            HeldEndpoint(each.id, each.url, gate, self.open_by_endpoint[each.id])
            for each in self._standing.values()
            for gate in each.gates
        ]
        return sorted(found, key=lambda each: (-each.open, each.gate.kind, each.endpoint_id))

    def of(self, endpoint_id: str) -> Mapping[datetime, Counts]:
        """Every bucket of the period, of one endpoint."""
        found = self._buckets.get(endpoint_id, {})
        return {starts: found.get(starts, Counts()) for starts in self._starts}

    def total(self) -> Mapping[datetime, Counts]:
        """Every bucket of the period, of all that was read."""
        total = {starts: Counts() for starts in self._starts}
        for buckets in self._buckets.values():
            for starts, counts in buckets.items():
                total[starts].add(counts)
        return total

    def _bucket(self, endpoint_id: str, starts: datetime) -> Counts:
        """The bucket; of an event whose worker's clock is ahead of the database's, the last one."""
        return self._buckets.setdefault(endpoint_id, {}).setdefault(min(starts, self._starts[-1]), Counts())


def _snapshot(connection: asyncpg.Connection) -> asyncpg.transaction.Transaction:
    return connection.transaction(isolation="repeatable_read", readonly=True)
