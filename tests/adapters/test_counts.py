"""The overview against counting everything, while deliveries end, are replayed, cancelled, and dropped with their day."""

import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import PARTITIONED, create_partition, today_of
from service.adapters.postgres.retention import PostgresRetentionStore
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.adapters.postgres.stats.reader import StatsReader
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.events.uid import first_uid_from, received_at
from service.core.reason import Reason
from service.core.stats.overview import Counts, Overview
from service.core.stats.period import PERIODS, Period, PeriodName
from service.core.stats.times import SLOT_RATIO, percentile, slot_of
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import Administration
from tests.fakes.delivery_store import alike
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.settlements import settled_by

pytestmark = [pytest.mark.clock, pytest.mark.servers]

RETENTION_DAYS = 30
TWICE = RetrySchedule(attempts_max=2)
REPLIES: tuple[Reply | Fault, ...] = (
    *(Reply(200, milliseconds) for milliseconds in (0, 1, 3, 40, 41, 900)),
    Reply(500, 12),
    Reply(503, 2_000),
    Fault(Reason.TIMEOUT, 15_000),
    Fault(Reason.CONNECT_REFUSED, 1),
    Fault(Reason.INTERNAL, 5),
)


class Town:
    """Two organizations with deliveries of the last month, and everything that can happen to them."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self.engine = engine
        self.draw = random.Random(seed)  # noqa: S311 - a walk, no secret
        self.administration = Administration(engine, PlainSecretBox())
        self.store = PostgresDeliveryStore(engine, worker_name="w", lease_seconds=60.0, breaker=BreakerLimits(3, 60.0))
        self.counts = PostgresCountStore(engine, lag_seconds=0.0)
        self.retention = PostgresRetentionStore(engine, retention_days=RETENTION_DAYS, audit_retention_days=365)
        self.stats = StatsReader(engine)
        self.endpoints: dict[str, list[str]] = {"org_1": [], "org_2": []}

    async def found(self) -> None:
        async with driver(self.engine) as connection:
            today = await today_of(connection)
            for days in range(RETENTION_DAYS + 3):
                for table in PARTITIONED:
                    await create_partition(connection, table, today - timedelta(days=days))
        for organization in self.endpoints:
            await self.administration.create_organization(organization)
            for number in range(3):
                url = f"https://{organization}-{number}.example/"
                made = await self.administration.add_endpoint(organization, url, ["message.sent"])
                self.endpoints[organization].append(made.id)

    async def publish(self) -> None:
        """Events of some moments of the last month, more of the last hours."""
        for _ in range(self.draw.randrange(1, 25)):
            hours = self.draw.choice((0.01, 0.9, 5, 30, 200, 24 * RETENTION_DAYS))
            at = datetime.now(UTC) - timedelta(hours=hours * self.draw.random())
            await self.publish_at(self.draw.choice([*self.endpoints]), at)

    async def publish_at(self, organization: str, at: datetime) -> UUID:
        uid = UUID(int=first_uid_from(at).int | self.draw.getrandbits(74))
        async with driver(self.engine) as connection:
            await connection.execute(
                """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, received_at, is_test, body)
                   VALUES ($1, $2, $3, 'message.sent', $4, $4, false, '{}')""",
                *(uid, organization, uuid.uuid4().hex, at),
            )
            await connection.execute(
                """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id,
                                                event_type, state, claims_made, created_at)
                   SELECT e.uid, s.id, e.organization_id, s.endpoint_id, e.event_id, e.event_type, 'pending', 0, $2
                     FROM events e JOIN subscriptions s USING (organization_id) WHERE e.uid = $1 AND s.removed_at IS NULL""",
                *(uid, at),
            )
        return uid

    async def deliver(self) -> None:
        claims = await self.store.claim_due(alike(self.draw.randrange(1, 40), 20))
        await self.store.settle(
            [settled_by(each, self.draw.choice(REPLIES), schedule=TWICE) for each in claims if self.draw.random() < 0.9]
        )

    async def hurry(self) -> None:
        async with driver(self.engine) as connection:
            await connection.execute("UPDATE open_deliveries SET next_attempt_at = now() - interval '1 second'")
            await connection.execute("DELETE FROM gates WHERE kind = 'breaker'")

    async def replay(self) -> None:
        async with driver(self.engine) as connection:
            rows = await connection.fetch("SELECT * FROM final_deliveries ORDER BY random() LIMIT 3")
        for row in rows:
            key = DeliveryKey(row["event_uid"], row["subscription_id"], row["replay_number"])
            await Replays(self.engine).replay(row["organization_id"], key, by=SOMEBODY)

    async def remove(self) -> None:
        """Cancels what is open there. One endpoint always stays."""
        organization = self.draw.choice([*self.endpoints])
        if len(self.endpoints[organization]) > 1:
            await self.administration.remove_endpoint(organization, self.endpoints[organization].pop())

    async def gate(self) -> None:
        kind = self.draw.choice(("paused", "disabled"))
        async with driver(self.engine) as connection:
            await connection.execute(
                """INSERT INTO gates (endpoint_id, kind, until) VALUES ($1, $2, 'infinity') ON CONFLICT DO NOTHING""",
                *(self.draw.choice(self.endpoints["org_1"]), kind),
            )

    async def retain(self) -> None:
        """What is open in an old day ends, and the day is dropped with its counts."""
        while await self.retention.expire(100):
            pass
        await self.retention.drop_days()
        await self.retention.purge()

    async def count_on(self) -> None:
        await self.counts.count_on(self.draw.choice((1, 7, 1_000)))

    async def count_back(self) -> None:
        await self.counts.count_back(self.draw.choice((1, 7, 1_000)))

    async def check(self) -> None:
        for organization in self.endpoints:
            for period in PERIODS.values():
                await self._check(organization, None, period)
            ids = self.endpoints[organization]
            await self._check(organization, ids[0], PERIODS[PeriodName.DAY])
            await self._check_sparklines(organization)

    async def _check(self, organization: str, endpoint_id: str | None, period: Period) -> None:
        found = await self.stats.overview(organization, period, endpoint_id)
        rows = await self._everything(organization, endpoint_id)
        since = max(found.since, found.complete_since or found.since)
        since = since if since == found.since else period.bucket_of(since) + timedelta(seconds=period.bucket_seconds)
        shown = {starts: each for starts, each in found.buckets.items() if starts >= since}
        assert shown == _counted(rows, period, shown), (organization, endpoint_id, period)
        assert found.backlog.open == sum(row["ended_at"] is None for row in rows)
        if found.complete_since is None:
            self._check_times(found, [row for row in rows if received_at(row["event_uid"]) >= found.since])

    def _check_times(self, found: Overview, rows: list[Mapping[str, Any]]) -> None:
        took = sorted(each for row in rows if row["ended_at"] is not None for each in row["took"])
        assert found.times.attempts_count == len(took)
        for ratio, told in ((0.5, found.times.p50_ms), (0.95, found.times.p95_ms)):
            if took:
                assert told is not None
                exact = max(1, took[max(0, -int(-ratio * len(took) // 1) - 1)])
                assert exact / SLOT_RATIO <= told <= exact * SLOT_RATIO, (ratio, took)

    async def _check_sparklines(self, organization: str) -> None:
        ids = [*self.endpoints[organization], "ep_unknown"]
        found = await self.stats.sparklines(organization, ids)
        assert [*found] == ids
        whole = (await self.stats.overview(organization, PERIODS[PeriodName.DAY])).complete_since is None
        for endpoint_id, line in found.items():
            rows = await self._everything(organization, endpoint_id)
            assert line.open == sum(row["ended_at"] is None for row in rows)
            if whole:
                assert line.buckets == _counted(rows, Period(3_600, 24), line.buckets)

    async def _everything(self, organization: str, endpoint_id: str | None) -> list[Mapping[str, Any]]:
        async with driver(self.engine) as connection:
            rows: list[Mapping[str, Any]] = await connection.fetch(
                """SELECT d.*, EXISTS (SELECT FROM shut_gates g WHERE g.endpoint_id = d.endpoint_id
                                     AND (g.kind <> 'breaker' OR g.until IS NOT NULL)) AS is_held,
                          coalesce((SELECT attempts_recorded > 0 FROM open_deliveries o WHERE o.event_uid = d.event_uid
                                       AND o.subscription_id = d.subscription_id AND o.replay_number = d.replay_number),
                                   false) AS is_tried,
                          ARRAY(SELECT duration_ms FROM attempts a WHERE a.event_uid = d.event_uid
                                   AND a.subscription_id = d.subscription_id AND a.replay_number = d.replay_number
                                   AND (a.status IS NOT NULL OR a.reason = 'timeout')) AS took
                     FROM deliveries d WHERE organization_id = $1 AND ($2::text IS NULL OR endpoint_id = $2)""",
                *(organization, endpoint_id),
            )
        return rows


def _counted(
    rows: list[Mapping[str, Any]], period: Period, shown: Mapping[datetime, Counts]
) -> Mapping[datetime, Counts]:
    """Every delivery counted by itself."""
    counted: dict[datetime, Counter[str]] = {starts: Counter() for starts in shown}
    for row in rows:
        starts = period.bucket_of(received_at(row["event_uid"]))
        if starts in counted:
            is_waiting = row["is_tried"] or row["is_held"]
            state = row["state"] if row["ended_at"] is not None else "waiting" if is_waiting else "fresh"
            counted[starts][state] += 1
    return {starts: Counts(**states) for starts, states in counted.items()}


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_figures_are_what_counting_everything_gives(engine: AsyncEngine, seed: int) -> None:
    town = Town(engine, seed)
    await town.found()
    steps = [town.publish, town.deliver, town.hurry, town.count_on, town.replay, town.count_back]
    for number in range(60):
        weights = (4, 8, 3, 4, 2, 0 if number < 20 else 3)
        await town.draw.choices(steps, weights)[0]()
        if number % 12 == 11:
            await town.draw.choice([town.remove, town.gate, town.retain])()
        if number % 6 == 5:
            await town.check()
    await town.count_back()
    await town.check()


async def test_what_is_committed_late_is_counted_once(engine: AsyncEngine, database_url: str) -> None:
    """Its time is that of its transaction's beginning: from before what has been counted meanwhile, but for the wait."""
    town = Town(engine, 1)
    await town.found()
    await town.count_on()
    late = await asyncpg.connect(database_url)
    transaction = late.transaction()
    await transaction.start()
    await late.fetchval("SELECT now()")  # it has begun, and written nothing yet
    for _ in range(3):
        await town.publish_at("org_1", datetime.now(UTC))
        await town.deliver()
        await town.count_on()
    await late.execute(
        """INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                                         event_type, state, created_at, claims_made, attempts_made)
           SELECT uid, 1, 77, organization_id, $1, event_id, event_type, 'delivered', now(), 1, 1 FROM events
            ORDER BY uid DESC LIMIT 1""",
        town.endpoints["org_1"][0],
    )
    await town.count_on()
    await transaction.commit()
    await late.close()
    await town.check()
    for _ in range(5):
        await town.count_on()
        await town.check()
    assert await engine_fetchval(engine, "SELECT sum(delivered) FROM delivery_counts WHERE endpoint_id = ''") > 0


async def test_one_worker_counts_at_a_time(engine: AsyncEngine, database_url: str) -> None:
    town = Town(engine, 1)
    await town.found()
    assert (await town.counts.count_on(10)).lag_seconds is not None
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM counts_progress FOR UPDATE")
        assert (await town.counts.count_on(10)).lag_seconds is None
        assert not (await town.counts.count_back(10)).is_behind
    await other.close()
    assert (await town.counts.count_on(10)).lag_seconds is not None


async def test_what_healed_is_told_with_its_last_failure(engine: AsyncEngine) -> None:
    town = Town(engine, 1)
    await town.found()
    await town.count_on()
    await town.publish_at("org_1", datetime.now(UTC))
    for reply in (Reply(503, 4), Reply(200, 4)):
        claims = await town.store.claim_due(alike(100, 100))
        assert await town.store.settle([settled_by(each, reply) for each in claims]) == [True] * 3
        await town.hurry()
    await town.counts.count_on(100)
    found = await town.stats.overview("org_1", PERIODS[PeriodName.HOUR])
    assert {each.endpoint_id for each in found.healed} == set(town.endpoints["org_1"])
    assert {(each.deliveries_count, each.attempts_max, each.reason, each.status) for each in found.healed} == {
        (1, 2, "http_status", 503)
    }
    assert not (await town.stats.overview("org_2", PERIODS[PeriodName.HOUR])).healed


def test_a_percentile_is_off_by_a_tenth_at_most() -> None:
    draw = random.Random(1)  # noqa: S311 - a walk, no secret
    times = sorted(int(draw.lognormvariate(5, 1.5)) for _ in range(10_000))
    slots = Counter(slot_of(each) for each in times)
    for ratio in (0.01, 0.5, 0.95, 1.0):
        told = percentile(slots, ratio)
        exact = max(1, times[int(ratio * len(times)) - 1])
        assert told is not None
        assert exact / 1.2**0.51 <= told <= exact * 1.2**0.51
    assert percentile({}, 0.5) is None


async def engine_fetchval(engine: AsyncEngine, statement: str) -> Any:
    async with driver(engine) as connection:
        return await connection.fetchval(statement)
