"""The service as operators see it, from a real database."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect, connection_name, driver
from service.adapters.postgres.oversight import OversightReader
from service.core.oversight import COUNTED_MAX, TRAFFIC_HOURS, OrganizationsWanted

SEED = """
INSERT INTO organizations (id) VALUES ('org_a'), ('org_B'), ('other'), ('org_c');
INSERT INTO endpoints (id, organization_id, url, removed_at)
SELECT 'ep_' || n, CASE WHEN n < 4 THEN 'org_a' ELSE 'org_B' END, 'https://e.example/' || n,
       CASE WHEN n = 3 THEN now() END
  FROM generate_series(0, 5) n;
INSERT INTO gates (endpoint_id, kind, since, until, detail)
VALUES ('ep_0', 'disabled', now() - interval '2 hours', 'infinity', 'failed for days'),
       ('ep_0', 'retry_after', now() - interval '1 hour', now() + interval '1 hour', NULL),
       ('ep_1', 'paused', now() - interval '3 hours', 'infinity', NULL),
       ('ep_2', 'retry_after', now() - interval '3 hours', now() - interval '1 hour', NULL),
       ('ep_3', 'paused', now() - interval '9 hours', 'infinity', NULL);
INSERT INTO breakers (endpoint_id, failing_since, attempts_failed)
VALUES ('ep_0', now() - interval '2 days', 40), ('ep_1', NULL, 0), ('ep_3', now() - interval '9 days', 1),
       ('ep_4', now() - interval '1 day', 2), ('ep_5', now() - interval '1 hour', 2);
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             claims_made, next_attempt_at, leased_by, lease_expires_at)
SELECT gen_random_uuid(), 1, 'org_B', 'ep_' || 4 + n % 2, 'evt', 'message.sent',
       CASE WHEN n < 3 THEN 'leased' ELSE 'pending' END, 1, now() - interval '90 seconds',
       CASE WHEN n < 2 THEN 'host-1-abcdef' WHEN n = 2 THEN 'gone-2-abcdef' END,
       CASE WHEN n < 3 THEN now() + interval '30 seconds' END
  FROM generate_series(0, 1500) n;
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             claims_made, next_attempt_at)
SELECT gen_random_uuid(), 1, 'org_a', 'ep_' || n, 'evt', 'message.sent', 'pending', 0, now() - interval '5 seconds'
  FROM generate_series(0, 1) n;
"""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    async with driver(engine) as connection:
        await connection.execute(SEED)
    yield engine
    await engine.dispose()


async def test_organizations_are_listed_with_what_is_wrong_searched_and_paged(engine: AsyncEngine) -> None:
    reader = OversightReader(engine)
    rows = {row.id: row for row in await reader.organizations(OrganizationsWanted())}
    assert list(rows) == sorted(rows, key=str)
    a, b, c = rows["org_a"], rows["org_B"], rows["org_c"]
    assert (a.endpoint_count, a.failing_count, a.disabled_count, a.gated_count, a.open_count) == (3, 1, 1, 2, 2)
    assert (b.endpoint_count, b.failing_count, b.disabled_count, b.gated_count) == (2, 2, 0, 0)
    assert b.open_count == COUNTED_MAX + 1
    assert (c.endpoint_count, c.open_count) == (0, 0)
    found = await reader.organizations(OrganizationsWanted(search="ORG_"))
    assert {row.id for row in found} == {"org_a", "org_B", "org_c"}
    assert await reader.organizations(OrganizationsWanted(search="%")) == []
    first, *rest = list(rows)
    assert [row.id for row in await reader.organizations(OrganizationsWanted(limit=1))] == [first]
    assert [row.id for row in await reader.organizations(OrganizationsWanted(after=first))] == rest


async def test_who_holds_what_since_when_and_who_is_gone(engine: AsyncEngine, database_url: str) -> None:
    worker = connect(database_url, name=connection_name("worker", "host-1-abcdef"))
    api = connect(database_url, name=connection_name("api", "x" * 80 + "-3-abcdef"))
    for each in (worker, api):
        async with driver(each) as connection:
            await connection.fetchval("SELECT 1")
    seen = await OversightReader(engine).look()
    by_role = {each.role: each for each in seen.processes}
    assert (by_role["worker"].name, by_role["worker"].leased_count) == ("host-1-abcdef", 2)
    assert by_role["worker"].connected_since is not None
    assert by_role["api"].name.endswith("xx-3-abcdef")
    assert (by_role[None].name, by_role[None].leased_count) == ("gone-2-abcdef", 1)
    for each in (worker, api):
        await each.dispose()


async def test_what_waits_and_which_gates_hold_it(engine: AsyncEngine) -> None:
    seen = await OversightReader(engine).look()
    assert (seen.waiting.due_count, seen.waiting.gated_count) == (1498, 2)
    assert 90 <= seen.waiting.oldest_due_age_seconds < 600
    assert dict(seen.gates) == {"disabled": 1, "paused": 1, "retry_after": 1}
    assert [(each.kind, each.endpoint_id) for each in seen.oldest_gates] == [
        *(("paused", "ep_1"), ("disabled", "ep_0"), ("retry_after", "ep_0"))
    ]
    assert seen.oldest_gates[1].detail == "failed for days"
    assert [(each.organization_id, each.endpoint_count) for each in seen.failing] == [("org_B", 2), ("org_a", 1)]


async def test_traffic_is_of_the_last_day_the_busiest_organization_first(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        await connection.execute(
            """INSERT INTO delivery_counts (organization_id, endpoint_id, width_seconds, starts_at, delivered, dead,
                                            cancelled, time_slots, time_attempts)
               SELECT organization_id, endpoint_id, width_seconds,
                      to_timestamp(floor(extract(epoch FROM now()) / 3600) * 3600) - hours * interval '1 hour',
                      delivered, dead, cancelled, '{}', '{}'
                 FROM (VALUES ('org_a', '', 3600, 0, 5, 1, 0), ('org_a', '', 3600, 1, 3, 0, 1),
                              ('org_B', '', 3600, 23, 20, 0, 0),
                              ('org_a', '', 3600, 24, 1000, 0, 0),        -- a day ago
                              ('org_a', 'ep_1', 3600, 0, 1000, 0, 0),     -- one endpoint's
                              ('org_a', '', 60, 0, 1000, 0, 0)            -- the same in another width
                      ) AS c (organization_id, endpoint_id, width_seconds, hours, delivered, dead, cancelled)"""
        )
    busiest, other = await OversightReader(engine).traffic()
    assert (busiest.organization_id, busiest.ended_count, busiest.delivered[0]) == ("org_B", 20, 20)
    assert (other.organization_id, other.ended_count, other.last_hour_count) == ("org_a", 10, 4)
    assert (other.delivered[-2:], other.dead[-1], other.cancelled[-2]) == ([3, 5], 1, 1)
    assert other.success_rate == 8 / 9
    assert len(other.delivered) == TRAFFIC_HOURS
