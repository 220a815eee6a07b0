"""Fill a database with a history: many events, deliveries in every state, their attempts.

    python -m bench.seed --events 1000000 --attempts 5000000 --database-url postgresql://…/seeded

One organization has 70 % of the events, many small ones share the rest. Of the large one's endpoints the first is dead,
the second answers 204, and the third has a backlog; of all other deliveries a few are dead or cancelled. Ended
deliveries are counted, as workers count them. Every organization has endpoints that fail or are paused.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.partitions import PARTITIONED, first_uid_of
from service.adapters.postgres.schema import migrate_schema
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.core.events.registry import REGISTRY
from service.core.events.sample import sample_event
from service.flow.upkeep.counting import COUNT_BATCH_MAX

LARGE = "org_large"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    events: int = 1_000_000
    attempts: int = 5_000_000
    days: int = 10
    organizations: int = 100
    large_endpoints: int = 40
    small_endpoints: int = 3
    until: datetime | None = None  # None: the last midnight, so that every day is complete


def endpoint_id(organization_id: str, number: int) -> str:
    """The id of one of an organization's endpoints, as the statements below make it."""
    return f"ep_{organization_id.replace('_', '')}x{number}"


PEOPLE = """
INSERT INTO organizations (id)
SELECT 'org_large' UNION ALL SELECT 'org_' || n FROM generate_series(1, {organizations}) n;
INSERT INTO endpoints (id, organization_id, url, created_at)
SELECT 'ep_' || replace(o.id, '_', '') || 'x' || n, o.id, 'https://' || o.id || '.example/' || n, '2026-01-01Z'
  FROM organizations o,
       generate_series(0, CASE WHEN o.id = 'org_large' THEN {large_endpoints} ELSE {small_endpoints} END - 1) n;
INSERT INTO subscriptions (organization_id, endpoint_id, event_type, target_url, created_at)
SELECT e.organization_id, e.id, t, e.url, e.created_at FROM endpoints e, unnest($types$) t ORDER BY e.id, t;
"""

# $1 number of events, $2 start, $3 duration, $4 number of small organizations
SEEDED_EVENTS = """
CREATE TEMP TABLE seeded AS
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || 'b'
           || substr(hash, 4, 15))::uuid AS uid,
       CASE WHEN n % 10 < 7 THEN 'org_large' ELSE 'org_' || 1 + (n * 7919) % $4::bigint END AS organization_id,
       'evt_' || n AS event_id,
       CASE WHEN kind < 50 THEN 'message.sent' WHEN kind < 88 THEN 'message.delivered'
            WHEN kind < 93 THEN 'message.failed' WHEN kind < 98 THEN 'message.replied' ELSE 'link.clicked' END
           AS event_type,
       at, 'msg_' || n / 3 AS message_id, 'brand_' || n % 3 AS brand_id, 'camp_' || n / 1000 % 20 AS campaign_id,
       CASE WHEN n % 5 = 0 THEN 'proj_' || n % 7 END AS project_id, n
  FROM generate_series(1, $1::bigint) AS n,
       LATERAL (SELECT $2::timestamptz + $3::interval * (n::float8 / $1::bigint) AS at, md5(n::text) AS hash,
                       abs(hashint8(n)) % 100 AS kind) AS made
"""

STORED_EVENTS = """
INSERT INTO event_keys (organization_id, event_id, event_uid, digest)
SELECT organization_id, event_id, uid, decode(repeat('00', 32), 'hex') FROM seeded;
INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, received_at, is_test, body, message_id,
                    reply_to_id, external_id, brand_id, campaign_id, project_id)
SELECT uid, organization_id, event_id, event_type, at, at, false,
       convert_to(replace(replace(replace(replace(body, 'EVENT', event_id), 'ORGANIZATION', organization_id),
                                  'msg_00000000', message_id),
                          'TIMESTAMP', to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8'), message_id,
       CASE WHEN event_type = 'message.replied' THEN message_id END, 'theirs_' || n / 3,
       brand_id, campaign_id, project_id
  FROM seeded JOIN samples USING (event_type) ORDER BY uid
"""

# $1 number of attempts, $2 and $3 number of endpoints of the large and of a small organization
SEEDED_DELIVERIES = """
CREATE TEMP TABLE seeded_deliveries AS
SELECT *, CASE WHEN state = 'delivered'
               THEN greatest(1, (($1::float8 / count(*) OVER () - 0.45) / 0.945 + dice / 1000.0 - 0.5)::int)
               WHEN state = 'dead' THEN 12 ELSE 1 + dice % 3 END AS attempts_made,
       CASE WHEN state <> 'delivered' AND dice % 3 > 0 THEN (ARRAY[404, 500, 503, 400])[1 + dice % 4]
            WHEN state = 'delivered' THEN CASE WHEN endpoint_number = 1 THEN 204 ELSE 200 END END AS last_status
  FROM (
    SELECT e.*, s.id AS subscription_id, s.endpoint_id, endpoint_number, dice,
           CASE WHEN e.organization_id = 'org_large' AND endpoint_number = 0 THEN 'dead'
                WHEN e.organization_id = 'org_large' AND endpoint_number = 2 AND e.n % 10 < 4 THEN 'pending'
                WHEN dice < 970 THEN 'delivered' WHEN dice < 985 THEN 'dead' WHEN dice < 998 THEN 'cancelled'
                WHEN dice < 999 THEN 'pending' ELSE 'leased' END AS state
      FROM seeded e CROSS JOIN generate_series(0, 1) AS copy CROSS JOIN
           LATERAL (SELECT abs(hashint8(e.n * 2 + copy)) % 1000 AS dice,
                           (abs(hashint8(e.n)) / 7 + copy) %
                           CASE WHEN e.organization_id = 'org_large' THEN $2::int ELSE $3::int END
                               AS endpoint_number) AS cast_
           JOIN subscriptions s
             ON s.endpoint_id = 'ep_' || replace(e.organization_id, '_', '') || 'x' || endpoint_number
                               AND s.event_type = e.event_type) AS fanned_out
"""

STORED_DELIVERIES = """
INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                              event_type, state, reason, last_status, created_at, ended_at, claims_made, attempts_made)
SELECT uid, subscription_id, 0, organization_id, endpoint_id, event_id, event_type, state,
       CASE state WHEN 'dead' THEN CASE WHEN dice % 4 = 0 THEN 'age_exceeded' ELSE 'attempts_exhausted' END
                  WHEN 'cancelled' THEN CASE WHEN dice % 2 = 0 THEN 'gone' ELSE 'subscription_deleted' END END,
       last_status, at, at + interval '1 second', attempts_made, attempts_made
  FROM seeded_deliveries WHERE state IN ('delivered', 'dead', 'cancelled') ORDER BY uid;
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             reason, last_status, created_at, next_attempt_at, lease_expires_at, leased_by, claims_made,
                             attempts_made, attempts_recorded)
SELECT uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
       CASE WHEN last_status IS NULL THEN 'timeout' ELSE 'http_status' END, last_status, at, now() + interval '1 hour',
       CASE WHEN state = 'leased' THEN now() + interval '1 minute' END, CASE WHEN state = 'leased' THEN 'seed' END,
       attempts_made, attempts_made, attempts_made
  FROM seeded_deliveries WHERE state IN ('pending', 'leased') ORDER BY uid;
INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms, outcome,
                      reason, status, is_counted, detail, reply)
SELECT uid, subscription_id, 0, number, number, at + number * interval '1 second', 20 + dice, outcome,
       CASE WHEN outcome = 'failed' THEN CASE WHEN last_status IS NULL THEN 'timeout' ELSE 'http_status' END END,
       CASE WHEN outcome = 'accepted' OR state <> 'delivered' THEN last_status ELSE 503 END, true, '',
       CASE WHEN outcome = 'accepted' THEN 'ok' ELSE 'try again later' END
  FROM seeded_deliveries, generate_series(1, attempts_made) AS number,
       LATERAL (SELECT CASE WHEN state = 'delivered' AND number = attempts_made THEN 'accepted' ELSE 'failed' END
                           AS outcome) AS judged
 ORDER BY uid
"""

# Of every ten endpoints the first fails and is left alone, the second fails, the third is paused.
TROUBLE = """
INSERT INTO breakers (endpoint_id, failing_since, attempts_failed, failures_in_a_row, state)
SELECT id, now() - interval '2 hours', 40, 40, CASE WHEN id LIKE '%0' THEN 'open' ELSE 'closed' END
  FROM endpoints WHERE right(id, 1) IN ('0', '1');
INSERT INTO gates (endpoint_id, kind, until, probe_at)
SELECT id, CASE WHEN id LIKE '%0' THEN 'breaker' ELSE 'paused' END, 'infinity',
       CASE WHEN id LIKE '%0' THEN now() + interval '1 hour' END
  FROM endpoints WHERE right(id, 1) IN ('0', '2')
"""

# What people did in the large organization: entries of the audit log, keys and replay jobs.
DONE_BY_PEOPLE = """
INSERT INTO audit_log (id, at, organization_id, actor_kind, actor_id, operation, object_id, before, after)
SELECT 'aud_' || n, now() - n * interval '40 seconds', 'org_large',
       'api_key', 'key_' || n % 100, CASE WHEN n % 2 = 0 THEN 'endpoint.pause' ELSE 'endpoint.resume' END,
       'ep_orglargex' || n % 40, '{"state": "active"}', '{"state": "paused"}'
  FROM generate_series(1, 20000) n;
INSERT INTO api_keys (id, organization_id, digest, scopes, name, hint)
SELECT 'key_' || n, 'org_large',
       decode(md5(n::text) || md5(n::text), 'hex'), '{read,write}', 'seeded ' || n, right(md5(n::text), 4)
  FROM generate_series(1, 100) n;
INSERT INTO replay_jobs (id, organization_id, endpoint_id, event_uids, subscription_ids, states, rate, state,
                         total_count, created_count, parts_uncounted, parts_left, created_by, created_at, ended_at)
SELECT 'rpl_' || n, 'org_large',
       'ep_orglargex1', '{}', '{}', '{dead}', 100,
       'done', 1000, 1000, 0, 0, 'key_1', now() - n * interval '1 hour', now() - n * interval '1 hour'
  FROM generate_series(1, 100) n
"""


async def seed(connection: asyncpg.Connection, size: Size) -> None:
    """Fill the tables, which must be empty, and analyse them."""
    until = size.until or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = until - timedelta(days=size.days)
    await _create_partitions(connection, since, until)
    with _told("organizations"):
        types = "ARRAY[" + ", ".join(f"'{name}'" for name in REGISTRY) + "]"
        counts = {name: getattr(size, name) for name in ("organizations", "large_endpoints", "small_endpoints")}
        await connection.execute(PEOPLE.format(**counts).replace("$types$", types))
        await connection.execute("ANALYZE organizations, endpoints, subscriptions")
        await connection.execute("CREATE TEMP TABLE samples (event_type text, body text)")
        await connection.executemany(
            "INSERT INTO samples VALUES ($1, $2)", [(name, _sample(name)) for name in REGISTRY]
        )
    with _told("events"):
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(SEEDED_EVENTS, size.events, since, until - since, size.organizations)
        await connection.execute("ANALYZE seeded")
        await connection.execute(STORED_EVENTS)
    with _told("deliveries and attempts"):
        await connection.execute(SEEDED_DELIVERIES, size.attempts, size.large_endpoints, size.small_endpoints)
        await connection.execute(STORED_DELIVERIES)
    with _told("analyse"):
        await connection.execute("DROP TABLE seeded, seeded_deliveries, samples")
        await connection.execute("ANALYZE")


async def add_trouble(connection: asyncpg.Connection) -> None:
    """Have endpoints fail or paused, and people have done something."""
    with _told("trouble, and what people did"):
        await connection.execute(TROUBLE)
        await connection.execute(DONE_BY_PEOPLE)
        await connection.execute("ANALYZE breakers, gates, audit_log, api_keys, replay_jobs")


async def count(url: str) -> None:
    """Count what has ended, in steps as a worker takes them."""
    engine = connect(url, pool_size=1, command_timeout_seconds=3600)
    store = PostgresCountStore(engine)
    with _told("counts"):
        await store.count_on(COUNT_BATCH_MAX)
        while (await store.count_back(COUNT_BATCH_MAX)).is_behind:
            pass
        async with driver(engine) as connection:
            await connection.execute("ANALYZE delivery_counts, healed_counts")
    await engine.dispose()


def _sample(event_type: str) -> str:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    body = sample_event(event_type, "ORGANIZATION", event_id="EVENT", number=0, now=now).decode()
    return body.replace('"timestamp":"2026-01-01T00:00:00.000000Z"', '"timestamp":"TIMESTAMP"', 1)


async def _create_partitions(connection: asyncpg.Connection, since: datetime, until: datetime) -> None:
    day = since.replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= until:
        bounds = f"FROM ('{first_uid_of(day)}') TO ('{first_uid_of(day + timedelta(days=1))}')"
        for table in PARTITIONED:
            name = f"{table}_{day:%Y%m%d}"
            await connection.execute(f'CREATE TABLE IF NOT EXISTS "{name}" PARTITION OF {table} FOR VALUES {bounds}')
        day += timedelta(days=1)


@contextmanager
def _told(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


async def run(options: argparse.Namespace) -> None:
    """Migrate, then fill."""
    await migrate_schema(options.database_url)
    connection = await asyncpg.connect(options.database_url, command_timeout=3600)
    try:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM organizations)"):
            raise SystemExit("the database is not empty")
        await seed(connection, Size(options.events, options.attempts, options.days, options.organizations))
        await add_trouble(connection)
        await count(options.database_url)
        print(await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))"))
    finally:
        await connection.close()


def main() -> None:
    """Fill a database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True, help="an empty database")
    parser.add_argument("--events", type=int, default=Size().events)
    parser.add_argument("--attempts", type=int, default=Size().attempts)
    parser.add_argument("--days", type=int, default=Size().days)
    parser.add_argument("--organizations", type=int, default=Size().organizations, help="number of small ones")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
