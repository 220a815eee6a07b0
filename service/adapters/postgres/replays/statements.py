"""The statements of replay jobs."""

from typing import Final

FOR_A_STEP: Final = """
SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off
"""
"""Set in the transaction of a step: only walks through an index, which cost the same however much there is."""

# The next organization after $1 with jobs to work on, but those in $2.
NEXT_ORGANIZATION: Final = """
SELECT organization_id FROM replay_jobs
 WHERE ended_at IS NULL AND state <> 'paused' AND organization_id > $1 AND organization_id <> ALL ($2::text[])
 ORDER BY organization_id LIMIT 1
"""

# The job after $2, so that an organization's jobs take turns, too; none that another worker is at.
TAKE_JOB: Final = """
SELECT *, now() AS now, extract(epoch FROM now() - measured_at)::float8 AS seconds FROM replay_jobs
 WHERE organization_id = $1 AND ended_at IS NULL AND state <> 'paused'
 ORDER BY (id <= $2), id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

# The parts of job $1 after $2 that may take a step, at most $3, and what stands against it. While a gate is shut,
# nothing is counted; where a breaker lets claims try the endpoint, there may be nothing else to try. $4 bounds what is
# counted of a part.
TAKE_PARTS: Final = """
SELECT p.*, g.is_shut, w.waiting, w.open_count
  FROM (SELECT * FROM replay_parts WHERE job_id = $1 AND endpoint_id > $2 AND NOT is_done AND rests_until <= now()
         ORDER BY endpoint_id LIMIT $3) AS p
 CROSS JOIN LATERAL (SELECT EXISTS (
       SELECT FROM gates g WHERE g.endpoint_id = p.endpoint_id AND g.until > now()
          AND coalesce(g.probe_at, 'infinity') > now()) AS is_shut OFFSET 0) AS g
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE o.attempts_made = 0)::int AS waiting, count(o.event_uid)::int AS open_count
         FROM (SELECT * FROM replay_made m
                WHERE m.job_id = p.job_id AND m.endpoint_id = p.endpoint_id AND p.is_counted AND NOT g.is_shut
                LIMIT $4) AS m
         LEFT JOIN open_deliveries o ON o.event_uid = m.event_uid AND o.subscription_id = m.subscription_id
          AND o.replay_number = m.replay_number) AS w
 ORDER BY p.endpoint_id
"""

REST_PARTS: Final = """
UPDATE replay_parts SET rests_until = now() + $3 * interval '1 second' WHERE job_id = $1 AND endpoint_id = ANY ($2)
"""

SKIP_PARTS: Final = "UPDATE replay_jobs SET last_part = $2 WHERE id = $1"

# As the replay of a single delivery does: whoever makes deliveries of a subscription locks it before looking for a free
# number. One that is locked already is being replayed or removed; the step comes later, so nothing waits in a circle.
LOCK_SUBSCRIPTIONS: Final = """
SELECT count(*) = (SELECT count(*) FROM subscriptions WHERE endpoint_id = $1 AND removed_at IS NULL)
  FROM (SELECT FROM subscriptions WHERE endpoint_id = $1 AND removed_at IS NULL
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) AS locked
"""

FORGET_ENDED: Final = """
DELETE FROM replay_made m WHERE m.job_id = $1 AND m.endpoint_id = $2 AND NOT EXISTS (
    SELECT FROM open_deliveries o WHERE o.event_uid = m.event_uid AND o.subscription_id = m.subscription_id
       AND o.replay_number = m.replay_number)
"""

# One endpoint's ended deliveries after event $3 and subscription $5, and before event $4, in order: at most $6, but
# always all of an event and a subscription. $2 are the event types that occur, each walked through its own index.
_ONE_HALF: Final = """
SELECT f.* FROM unnest($2::text[]) AS t (event_type), LATERAL (
       SELECT event_uid, subscription_id, replay_number, state, ended_at FROM final_deliveries
        WHERE endpoint_id = $1 AND event_type = t.event_type AND {half}
          AND event_uid >= $3 AND event_uid < $4 AND (event_uid, subscription_id) > ($3, $5)
        ORDER BY event_uid, subscription_id FETCH FIRST ($6) ROWS WITH TIES) AS f
"""
_HALVES: Final = {half: _ONE_HALF.format(half=half) for half in ("state = 'delivered'", "state <> 'delivered'")}
# The same, of the deliveries named: events $2 and subscriptions $7.
_NAMED: Final = """
SELECT f.event_uid, f.subscription_id, f.replay_number, f.state, f.ended_at
  FROM unnest($2::uuid[], $9::bigint[]) AS k (event_uid, subscription_id)
  JOIN final_deliveries f ON f.event_uid = k.event_uid AND f.subscription_id = k.subscription_id
 WHERE f.endpoint_id = $1 AND k.event_uid >= $3 AND k.event_uid < $4
   AND (k.event_uid, k.subscription_id) > ($3, $5)
"""


def walk(*, is_named: bool, with_delivered: bool, with_failed: bool) -> str:
    """The deliveries to look at next. Two indexes hold an endpoint's: one those delivered, the other the rest."""
    delivered, failed = _HALVES.values()
    halves = [half for half, is_wanted in ((delivered, with_delivered), (failed, with_failed)) if is_wanted]
    parts = " UNION ALL ".join(f"({each})" for each in ([_NAMED] if is_named else halves))
    # Only constants of this module are formatted in; values are bound.
    return f"""SELECT * FROM ({parts}) AS d
 ORDER BY event_uid, subscription_id FETCH FIRST ($6) ROWS WITH TIES"""  # noqa: S608


# $7 the states that match, $8 when the job was made: what ended later is not its matter.
_MATCHES: Final = "state = ANY ($7::text[]) AND ended_at <= $8"


def counting(walk_text: str) -> str:
    """How many were looked at, how many of them match, and the last one."""
    return f"""
WITH next AS MATERIALIZED ({walk_text})
SELECT count(*) AS looked_at, count(*) FILTER (WHERE {_MATCHES}) AS matching,
       (SELECT event_uid FROM next ORDER BY event_uid DESC, subscription_id DESC LIMIT 1) AS event_uid,
       (SELECT subscription_id FROM next ORDER BY event_uid DESC, subscription_id DESC LIMIT 1) AS subscription_id
  FROM next"""  # noqa: S608 - constants


def judging(walk_text: str) -> str:
    """Those looked at, and of those that match what decides whether they are made again."""
    return f"""
WITH next AS MATERIALIZED ({walk_text})
SELECT n.event_uid, n.subscription_id, n.replay_number, {_MATCHES} AS is_match,
       CASE WHEN {_MATCHES} THEN (
           SELECT max(d.replay_number) FROM deliveries d
            WHERE d.event_uid = n.event_uid AND d.subscription_id = n.subscription_id) END AS newest_number,
       CASE WHEN {_MATCHES} THEN EXISTS (
           SELECT FROM subscriptions s WHERE s.id = n.subscription_id AND s.removed_at IS NULL) END AS is_subscribed,
       CASE WHEN {_MATCHES} THEN EXISTS (SELECT FROM events e WHERE e.uid = n.event_uid) END AS has_event
  FROM next n ORDER BY n.event_uid, n.subscription_id, n.replay_number"""  # noqa: S608 - constants


# Due one after the other, a microsecond apart, so that they are claimed in the events' order.
MAKE: Final = """
WITH made AS (
    INSERT INTO open_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                                 event_type, state, claims_made, next_attempt_at)
    SELECT e.uid, s.id, c.replay_number, e.organization_id, s.endpoint_id, e.event_id, e.event_type, 'pending', 0,
           now() + c.place * interval '1 microsecond'
      FROM unnest($2::uuid[], $3::bigint[], $4::int[]) WITH ORDINALITY
           AS c (event_uid, subscription_id, replay_number, place)
      JOIN events e ON e.uid = c.event_uid JOIN subscriptions s ON s.id = c.subscription_id
     WHERE e.organization_id = $1 AND s.organization_id = $1
        ON CONFLICT DO NOTHING
    RETURNING event_uid, subscription_id, replay_number, endpoint_id
), noted AS (
    INSERT INTO replay_made (job_id, endpoint_id, event_uid, subscription_id, replay_number)
    SELECT $5, endpoint_id, event_uid, subscription_id, replay_number FROM made
)
SELECT event_uid, subscription_id, replay_number FROM made
"""

SAVE_PART: Final = """
UPDATE replay_parts
   SET event_types = $3, counted_event_uid = $4, counted_subscription_id = $5, is_counted = $6,
       done_event_uid = $7, done_subscription_id = $8, is_done = $9, window_size = $10
 WHERE job_id = $1 AND endpoint_id = $2
"""

SAVE_JOB: Final = """
UPDATE replay_jobs
   SET state = $2, reason = $3, total_count = total_count + $4, created_count = created_count + $5,
       superseded_count = superseded_count + $6, subscription_removed_count = subscription_removed_count + $7,
       event_dropped_count = event_dropped_count + $8, parts_uncounted = parts_uncounted - $9,
       parts_left = parts_left - $10, last_part = $11, tokens = $12, measured_at = now(),
       started_at = coalesce(started_at, now()), ended_at = CASE WHEN $2 IN ('done', 'failed') THEN now() END
 WHERE id = $1
"""

FAIL_JOB: Final = """
UPDATE replay_jobs SET state = 'failed', reason = $2, ended_at = now() WHERE id = $1 AND ended_at IS NULL
"""

# Those that ended longer ago than $1, at most $2: the deliveries they made are gone as well.
PURGE_JOBS: Final = """
DELETE FROM replay_jobs WHERE id IN (
    SELECT id FROM replay_jobs WHERE ended_at < now() - $1::interval ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
