"""The limits that endpoints ask for, kept by the claim: it is the one place that grants leases for such an endpoint.

A claim locks the endpoint's row, and only then reads how many places are taken. So claims of one endpoint run one after
the other, in whichever workers, and each sees what the one before it granted. A row that another claim has locked is
skipped: that claim grants what there is. The other deliveries of the same claim do not wait.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from service.adapters.postgres.deliveries.rows import columns, key_row
from service.core.deliveries.allowance import Allowance, Grant, grant_of
from service.core.deliveries.effect import FreePlace

# $1 endpoints, $2 how long a lease that was granted before the limits were set can last at most. "clock_timestamp()" is
# read after the row was locked, so it never lies before what an earlier claim wrote.
_LOCK: Final = """
SELECT l.endpoint_id, l.rate_limit_per_second, least(l.max_in_flight, l.breaker_in_flight) AS max_in_flight,
       l.allowance, clock_timestamp() AS at, l.measured_at, l.limited_at > now() - $2::interval AS is_new
  FROM endpoint_limits l
 WHERE l.endpoint_id = ANY ($1) AND l.opens_at <= clock_timestamp()
   AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = l.endpoint_id AND g.until > now()
                      AND coalesce(g.probe_at, 'infinity') > now())
   AND EXISTS (SELECT FROM open_deliveries o
                WHERE o.state = 'pending' AND o.endpoint_id = l.endpoint_id AND o.next_attempt_at <= now())
   FOR UPDATE OF l SKIP LOCKED
"""

# A statement of its own, after the lock: its snapshot has all that earlier holders of the lock wrote.
_TAKEN: Final = """
SELECT endpoint_id, count(*) FROM endpoint_places
 WHERE endpoint_id = ANY ($1) AND expires_at > now() GROUP BY endpoint_id
"""

# Leases that hold no place: they were granted before their endpoint asked for a limit.
_UNPLACED: Final = """
SELECT o.endpoint_id, count(*) FROM open_deliveries o
 WHERE o.state = 'leased' AND o.endpoint_id = ANY ($1) AND NOT EXISTS (
       SELECT FROM endpoint_places p
        WHERE p.endpoint_id = o.endpoint_id AND p.event_uid = o.event_uid AND p.subscription_id = o.subscription_id
          AND p.replay_number = o.replay_number AND p.claim_number = o.claims_made)
 GROUP BY o.endpoint_id
"""

# $1..$6 the new places; $7..$10 what is left of each endpoint's allowance, as of when, and when it opens.
_TAKE: Final = """
WITH placed AS (
    INSERT INTO endpoint_places (endpoint_id, event_uid, subscription_id, replay_number, claim_number, expires_at)
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::int[], $6::timestamptz[])
)
UPDATE endpoint_limits l
   SET allowance = t.allowance, measured_at = t.at, opens_at = t.at + t.seconds * interval '1 second'
  FROM unnest($7::text[], $8::float8[], $9::timestamptz[], $10::float8[]) AS t (endpoint_id, allowance, at, seconds)
 WHERE l.endpoint_id = t.endpoint_id
"""

# $1..$5 the places, $6 whether nothing was sent. Only what was really there gives its request back to the allowance.
# The rows of limits are locked in one order, so that two of these cannot deadlock.
_FREE: Final = """
WITH freed AS (
    DELETE FROM endpoint_places p
     USING unnest($1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::int[], $6::boolean[])
        AS f (endpoint_id, event_uid, subscription_id, replay_number, claim_number, is_unused)
     WHERE p.endpoint_id = f.endpoint_id AND p.event_uid = f.event_uid AND p.subscription_id = f.subscription_id
       AND p.replay_number = f.replay_number AND p.claim_number = f.claim_number
    RETURNING p.endpoint_id, f.is_unused
), unused AS (
    SELECT endpoint_id, count(*) AS requests FROM freed WHERE is_unused GROUP BY endpoint_id
), locked AS (
    SELECT l.endpoint_id FROM endpoint_limits l
     WHERE l.endpoint_id IN (SELECT endpoint_id FROM unused) ORDER BY l.endpoint_id FOR UPDATE
)
UPDATE endpoint_limits l SET allowance = l.allowance + unused.requests, opens_at = least(l.opens_at, now())
  FROM unused JOIN locked USING (endpoint_id) WHERE l.endpoint_id = unused.endpoint_id
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A limited endpoint whose row this transaction has locked, as of ``at``, and how much of it to claim."""

    allowance: Allowance
    at: datetime
    share: int


async def open_limited(
    connection: asyncpg.Connection, shares: Mapping[str, int], lease: timedelta
) -> Mapping[str, Opened]:
    """Lock the limited endpoints among ``shares`` that may be sent to now, and see how much of each share they allow.

    Those left out are locked by another claim, at their limit, or have nothing due.
    """
    rows = await connection.fetch(_LOCK, list(shares), 2 * lease)
    bounded = [row["endpoint_id"] for row in rows if row["max_in_flight"] is not None]
    in_flight: Counter[str] = Counter(dict(await connection.fetch(_TAKEN, bounded))) if bounded else Counter()
    new = [row["endpoint_id"] for row in rows if row["max_in_flight"] is not None and row["is_new"]]
    if new:
        in_flight.update(dict(await connection.fetch(_UNPLACED, new)))
    opened = {}
    for row in rows:
        endpoint_id, at = row["endpoint_id"], row["at"]
        before = Allowance(row["rate_limit_per_second"], row["max_in_flight"], row["allowance"], in_flight[endpoint_id])
        allowance = before.grown((at - row["measured_at"]).total_seconds())
        opened[endpoint_id] = Opened(allowance, at, allowance.most(shares[endpoint_id]))
    return opened


async def take(
    connection: asyncpg.Connection, opened: Mapping[str, Opened], rows: Sequence[asyncpg.Record]
) -> Mapping[str, Grant]:
    """Note what was claimed for the opened endpoints; returns the grant that each one's leases come with."""
    counts = Counter(row["endpoint_id"] for row in rows if row["endpoint_id"] in opened)
    if not counts:
        return {}
    places = [
        (row["endpoint_id"], row["event_uid"], row["subscription_id"], row["replay_number"], row["claims_made"],
         row["lease_expires_at"])
        for row in rows if row["endpoint_id"] in counts
    ]  # fmt: skip
    left = {each: opened[each].allowance.taken(count) for each, count in counts.items()}
    kept = [(each, left[each].requests, opened[each].at, left[each].opens_in_seconds) for each in sorted(left)]
    await connection.execute(_TAKE, *columns(places, 6), *columns(kept, 4))
    return {each: grant_of(left[each], opened[each].share, count) for each, count in counts.items()}


async def free_places(connection: asyncpg.Connection, freed: Collection[FreePlace]) -> None:
    """Free these places; those that are not there, because this is said twice, change nothing."""
    rows = [(each.endpoint_id, *key_row(each.key), each.claim_number, each.is_unused) for each in freed]
    await connection.execute(_FREE, *columns(rows, 6))


async def purge_places(connection: asyncpg.Connection, limit: int) -> int:
    """Delete the places of workers that died: nobody frees them, and they count no more. Returns how many, at most."""
    purged: str = await connection.execute(
        """DELETE FROM endpoint_places WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM endpoint_places WHERE expires_at < now() - interval '1 hour'
                LIMIT $1 FOR UPDATE SKIP LOCKED))""",
        limit,
    )
    return int(purged.split()[1])
