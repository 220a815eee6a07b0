"""Announcements in PostgreSQL: operational events, recorded with the fact that they tell, and fanned out later."""

from collections.abc import Sequence
from hashlib import sha256

import asyncpg

from service.adapters.postgres.deliveries.rows import columns
from service.core.endpoints.subscription import patterns_covering
from service.core.events.event import Event

# $1..$6 the events; $7 and $8 each of their types with each pattern that covers it. The uids are UUIDv7 of the
# database's clock, by which there is a partition for today: a settlement must not wait for a worker's clock. Who asks
# is looked up once for each organization and type, however many events there are; where nobody asks, nothing is
# written. "OFFSET 0" keeps the planner from looking for the highest id among everybody's subscriptions. The frontier is
# that of a deferred fan-out.
ANNOUNCE = r"""
WITH incoming AS (
    SELECT *, overlay(overlay(gen_random_uuid()::text PLACING milliseconds FROM 1) PLACING '7' FROM 15)::uuid AS uid
      FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[], $6::bytea[])
               AS i (organization_id, event_id, event_type, occurred_at, body, digest),
           (SELECT regexp_replace(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0'), '.{8}', '\&-')
                       AS milliseconds) AS clock
), asked AS MATERIALIZED (
    SELECT i.organization_id, i.event_type, max(s.id) AS frontier
      FROM (SELECT DISTINCT organization_id, event_type FROM incoming) AS i
      JOIN unnest($7::text[], $8::text[]) AS p (event_type, pattern) ON p.event_type = i.event_type,
           LATERAL (SELECT id FROM subscriptions
                     WHERE organization_id = i.organization_id AND event_type = p.pattern AND removed_at IS NULL
                    OFFSET 0) AS s
     GROUP BY i.organization_id, i.event_type
), fresh AS (
    INSERT INTO event_keys (organization_id, event_id, event_uid, digest)
    SELECT i.organization_id, i.event_id, i.uid, i.digest
      FROM incoming i JOIN asked USING (organization_id, event_type)
     ORDER BY i.organization_id, i.event_id
        ON CONFLICT DO NOTHING
    RETURNING event_uid
), kept AS (
    INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
    SELECT i.uid, i.organization_id, i.event_id, i.event_type, i.occurred_at, false, i.body
      FROM incoming i JOIN fresh ON fresh.event_uid = i.uid
)
INSERT INTO fan_outs (event_uid, organization_id, frontier)
SELECT i.uid, i.organization_id, asked.frontier
  FROM incoming i JOIN fresh ON fresh.event_uid = i.uid JOIN asked USING (organization_id, event_type)
"""


async def announce(connection: asyncpg.Connection, events: Sequence[Event]) -> None:
    """Record these events, if somebody asks for them, in the transaction that records the facts."""
    rows = [
        (each.organization_id, each.id, each.type, each.occurred_at, each.body, sha256(each.body).digest())
        for each in events
    ]
    covering = [(each, pattern) for each in {event.type for event in events} for pattern in patterns_covering(each)]
    await connection.execute(ANNOUNCE, *columns(rows, 6), *columns(covering, 2))
