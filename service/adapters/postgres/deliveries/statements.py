"""The hot statements. Each is a transaction of its own: one round trip, one commit, however large the batch."""

import re

# $1..$2 the versions of the copies that were used; $3..$16 the events; $17..$20 their deliveries; $21 worker,
# $22 lease.
RECORD = """
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::bigint[]) AS w (organization_id, directory_version)
), stale AS (
    -- A subscription answered before this event was published is in this snapshot, so it is noticed here.
    SELECT w.organization_id FROM wanted w LEFT JOIN organizations o ON o.id = w.organization_id
     WHERE o.directory_version IS DISTINCT FROM w.directory_version
), incoming AS (
    SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::boolean[],
                         $9::bytea[], $10::bytea[], $11::text[], $12::text[], $13::text[], $14::text[],
                         $15::text[], $16::text[])
        AS i (uid, organization_id, event_id, event_type, occurred_at, is_test, body, digest, message_id, reply_to_id,
              external_id, brand_id, campaign_id, project_id)
), fresh AS (
    INSERT INTO event_keys (organization_id, event_id, event_uid, digest)
    SELECT organization_id, event_id, uid, digest FROM incoming
     WHERE organization_id NOT IN (SELECT organization_id FROM stale)
        ON CONFLICT DO NOTHING
    RETURNING event_uid
), kept AS (
    INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body, message_id,
                        reply_to_id, external_id, brand_id, campaign_id, project_id)
    SELECT i.uid, i.organization_id, i.event_id, i.event_type, i.occurred_at, i.is_test, i.body, i.message_id,
           i.reply_to_id, i.external_id, i.brand_id, i.campaign_id, i.project_id
      FROM incoming i JOIN fresh ON fresh.event_uid = i.uid
), shut AS MATERIALIZED (  -- read once, and no gates but these: there may be thousands of others
    SELECT endpoint_id FROM gates WHERE endpoint_id = ANY ($19::text[]) AND until > now()
), born AS (
    INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                 state, claims_made, leased_by, lease_expires_at)
    SELECT d.event_uid, d.subscription_id, i.organization_id, d.endpoint_id, i.event_id, i.event_type,
           CASE WHEN is_leased THEN 'leased' ELSE 'pending' END, is_leased::int,
           CASE WHEN is_leased THEN $21 END, CASE WHEN is_leased THEN now() + $22::interval END
      FROM unnest($17::uuid[], $18::bigint[], $19::text[], $20::boolean[])
               AS d (event_uid, subscription_id, endpoint_id, wants_lease)
      JOIN fresh ON fresh.event_uid = d.event_uid
      JOIN incoming i ON i.uid = d.event_uid,
           LATERAL (SELECT d.wants_lease AND d.endpoint_id NOT IN (SELECT endpoint_id FROM shut) AS is_leased) AS gate
    RETURNING event_uid, subscription_id, state
)
SELECT (SELECT array_agg(organization_id) FROM stale) AS stale,
       (SELECT array_agg(event_uid) FROM fresh) AS fresh,
       (SELECT array_agg((event_uid, subscription_id)) FROM born WHERE state = 'pending') AS pending
"""

# Whoever has subscribed by now gets the event: an organization's subscriptions are committed in order of their ids.
DEFER = """
INSERT INTO fan_outs (event_uid, organization_id, frontier)
SELECT e.uid, e.organization_id,
       coalesce((SELECT max(s.id) FROM subscriptions s WHERE s.organization_id = e.organization_id), 0)
  FROM unnest($1::uuid[], $2::text[]) AS e (uid, organization_id)
"""

KNOWN = """
SELECT k.organization_id, k.event_id, k.digest
  FROM unnest($1::text[], $2::text[]) AS i (organization_id, event_id)
  JOIN event_keys k ON k.organization_id = i.organization_id AND k.event_id = i.event_id
"""

# $1..$4 key and claim; $5 final state or null, $6 reason, $7 seconds to wait; $8..$17 the attempt, nulls if none was
# made, as in a release. Each array costs asyncpg 4 us, however short, so values that follow from others are not passed.
# A 2xx is a fact and moves any open delivery; everything else must hold the latest claim. What moves nothing is not
# counted. "leased_by IS NOT NULL" means leased (a CHECK keeps the two in step), but does not tempt the planner into
# scanning the index of all leases. ``back`` are endpoints that have a breaker and took a delivery: none, as a rule.
SETTLE = """
WITH settled AS (
    SELECT *, number IS NOT NULL AS is_tried
      FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::text[], $6::text[], $7::float8[],
                  $8::int[], $9::timestamptz[], $10::int[], $11::text[], $12::text[], $13::int[], $14::boolean[],
                  $15::text[], $16::text[], $17::text[]) WITH ORDINALITY
        AS s (event_uid, subscription_id, replay_number, claim_number, final_state, final_reason, delay_seconds,
              number, started_at, duration_ms, outcome, reason, status, is_counted, detail, reply, headers, ordinal)
), ended AS (
    DELETE FROM open_deliveries d USING settled s
     WHERE s.final_state IS NOT NULL
       AND d.event_uid = s.event_uid AND d.subscription_id = s.subscription_id AND d.replay_number = s.replay_number
       AND (s.final_state = 'delivered' OR (d.state = 'leased' AND d.claims_made = s.claim_number))
    RETURNING d.*, s.final_state, s.final_reason, (s.is_counted IS TRUE)::int AS counted, s.status, s.ordinal
), history AS (
    INSERT INTO final_deliveries (event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id,
                                  event_type, state, reason, last_status, created_at, claims_made, attempts_made)
    SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type,
           final_state, final_reason, coalesce(status, last_status), created_at, claims_made, attempts_made + counted
      FROM ended
), again AS (
    UPDATE open_deliveries d
       SET state = 'pending', leased_by = NULL, lease_expires_at = NULL,
           reason = coalesce(s.final_reason, d.reason), last_status = coalesce(s.status, d.last_status),
           next_attempt_at = now() + s.delay_seconds * interval '1 second',
           attempts_made = d.attempts_made + (s.is_counted IS TRUE)::int,
           attempts_recorded = d.attempts_recorded + s.is_tried::int,
           lost_in_a_row = CASE WHEN s.reason = 'lost' THEN d.lost_in_a_row + 1
                                WHEN s.is_tried THEN 0 ELSE d.lost_in_a_row END
      FROM settled s
     WHERE s.final_state IS NULL
       AND d.event_uid = s.event_uid AND d.subscription_id = s.subscription_id AND d.replay_number = s.replay_number
       AND d.leased_by IS NOT NULL AND d.claims_made = s.claim_number
    RETURNING s.ordinal
), unmoved AS (
    SELECT coalesce(array_agg(ordinal), '{}') AS ordinals FROM settled
     WHERE ordinal NOT IN (SELECT ordinal FROM ended UNION ALL SELECT ordinal FROM again)
), tried AS (
    INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
                          outcome, reason, status, is_counted, detail, reply, headers)
    SELECT event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
           outcome, reason, status, is_counted AND ordinal <> ALL ((SELECT ordinals FROM unmoved)::bigint[]), detail,
           reply, headers
      FROM settled WHERE is_tried
)
SELECT ordinals AS unmoved, (SELECT array_agg(b.endpoint_id) FROM ended JOIN breakers b USING (endpoint_id)
                              WHERE ended.final_state = 'delivered') AS back
  FROM unmoved
"""

# For a batch in which the number of an attempt was taken, so that SETTLE failed and did nothing.
# If a final delivery has the key, the first one stays: no batch may stand still for ever.
SETTLE_WITHOUT_ATTEMPTS = SETTLE.replace("FROM settled WHERE is_tried\n", "FROM settled WHERE false\n").replace(
    "      FROM ended\n)", "      FROM ended\n        ON CONFLICT DO NOTHING\n)"
)

# An attempt whose number may be taken (its lease was rescued and counted as lost meanwhile) gets the next free one;
# the same attempt written twice (a COMMIT whose answer was lost) is recognised by its claim.
RECORD_LATE_ATTEMPT = """
INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
                      outcome, reason, status, is_counted, detail, reply, headers)
SELECT late.event_uid, late.subscription_id, late.replay_number, 1 + known.number, late.claim_number, late.started_at,
       late.duration_ms, late.outcome, late.reason, late.status, late.is_counted, late.detail, late.reply,
       late.headers
  FROM (SELECT $1::uuid, $2::bigint, $3::int, $4::int, $5::int, $6::timestamptz, $7::int, $8::text, $9::text,
               $10::int, $11::boolean, $12::text, $13::text, $14::text)
           AS late (event_uid, subscription_id, replay_number, claim_number, number, started_at, duration_ms,
                    outcome, reason, status, is_counted, detail, reply, headers),
       LATERAL (SELECT coalesce(max(number), 0) AS number,
                       bool_or(a.claim_number = late.claim_number
                               AND a.reason IS NOT DISTINCT FROM late.reason) AS is_written
                  FROM attempts a
                 WHERE a.event_uid = late.event_uid AND a.subscription_id = late.subscription_id
                   AND a.replay_number = late.replay_number) AS known
 WHERE known.is_written IS NOT TRUE
"""

SHUT_GATES = """
INSERT INTO gates (endpoint_id, kind, until)
SELECT endpoint_id, kind, now() + max(seconds) * interval '1 second'
  FROM unnest($1::text[], $2::text[], $3::float8[]) AS g (endpoint_id, kind, seconds)
 GROUP BY endpoint_id, kind ORDER BY endpoint_id, kind
    ON CONFLICT (endpoint_id, kind) DO UPDATE
   SET since = CASE WHEN gates.until > now() THEN gates.since ELSE excluded.since END,
       until = greatest(gates.until, excluded.until)
"""

# Those that would wait longest have failed most often, so they are the oldest. What another transaction has locked is
# being moved already.
BRING_FORWARD = """
WITH later AS (
    SELECT d.* FROM unnest($1::text[], $2::int[]) AS f (endpoint_id, count), LATERAL (
        SELECT event_uid, subscription_id, replay_number FROM open_deliveries o
         WHERE o.state = 'pending' AND o.endpoint_id = f.endpoint_id AND o.next_attempt_at > now()
           AND o.attempts_made > 0 AND o.next_attempt_at < 'infinity'  -- those wait in a line
         ORDER BY o.next_attempt_at DESC LIMIT f.count FOR UPDATE SKIP LOCKED
    ) AS d
)
UPDATE open_deliveries o SET next_attempt_at = now()
  FROM later
 WHERE o.event_uid = later.event_uid AND o.subscription_id = later.subscription_id
   AND o.replay_number = later.replay_number
"""

# Whether an endpoint has lines is asked with ORDER BY and LIMIT, here and below. With EXISTS the planner expects the
# places of one endpoint to be spread over the table, and reads all of it for each endpoint that has none.
# The endpoints with pending deliveries that follow $1, at most $2: one index probe each, however long the backlog.
TURNS = """
WITH RECURSIVE turn AS (
    (SELECT endpoint_id, next_attempt_at, 1 AS step FROM open_deliveries
      WHERE state = 'pending' AND endpoint_id > $1 ORDER BY endpoint_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, following.next_attempt_at, turn.step + 1
      FROM turn, LATERAL (
        SELECT endpoint_id, next_attempt_at FROM open_deliveries
         WHERE state = 'pending' AND endpoint_id > turn.endpoint_id ORDER BY endpoint_id, next_attempt_at LIMIT 1
      ) AS following
     WHERE turn.step < $2
)
SELECT turn.endpoint_id, coalesce(e.organization_id, '') AS organization_id,
       coalesce(e.url, '') AS url,
       l.endpoint_id IS NOT NULL
           OR (SELECT true FROM ordered_deliveries s WHERE s.endpoint_id = turn.endpoint_id
                ORDER BY s.endpoint_id, s.line LIMIT 1) IS TRUE AS is_limited,
       next_attempt_at <= now() AND NOT EXISTS (
           SELECT FROM gates g WHERE g.endpoint_id = turn.endpoint_id AND g.until > now()
              AND coalesce(g.probe_at, 'infinity') > now())
       AND (l.endpoint_id IS NULL OR l.opens_at <= now() AND (
           coalesce(l.max_in_flight, l.breaker_in_flight) IS NULL OR least(l.max_in_flight, l.breaker_in_flight) > (
           SELECT count(*) FROM endpoint_places p WHERE p.endpoint_id = l.endpoint_id AND p.expires_at > now())))
           AS is_due
  FROM turn LEFT JOIN endpoints e ON e.id = turn.endpoint_id
       LEFT JOIN endpoint_limits l ON l.endpoint_id = turn.endpoint_id
 ORDER BY step
"""

# The same for the endpoints $1.
TURNS_OF = re.sub(
    r"WITH RECURSIVE turn AS \(.*?\n\)\n",
    """
WITH turn AS (
    SELECT id AS endpoint_id, step,
           (SELECT min(next_attempt_at) FROM open_deliveries o WHERE o.state = 'pending' AND o.endpoint_id = of.id)
               AS next_attempt_at
      FROM unnest($1::text[]) WITH ORDINALITY AS of (id, step)
)
""",
    TURNS,
    flags=re.DOTALL,
)

# $1 the endpoints whose turn it is, $2 the limit for each, $3 worker, $4 lease, $5 the sum of $2: a bound that the
# planner can see; without it the planner expects a tenth of the table and reads all of it. An endpoint that has lines
# by now is left to the claim that heeds them.
CLAIM = """
WITH due AS (
    SELECT d.* FROM unnest($1::text[], $2::int[]) AS turn (endpoint_id, share), LATERAL (
        SELECT event_uid, subscription_id, replay_number FROM open_deliveries o
         WHERE o.state = 'pending' AND o.endpoint_id = turn.endpoint_id AND o.next_attempt_at <= now()
         ORDER BY o.next_attempt_at LIMIT turn.share FOR UPDATE SKIP LOCKED
    ) AS d
     WHERE (SELECT true FROM ordered_deliveries s WHERE s.endpoint_id = turn.endpoint_id
             ORDER BY s.endpoint_id, s.line LIMIT 1) IS NOT TRUE
)
UPDATE open_deliveries o
   SET state = 'leased', claims_made = o.claims_made + 1, leased_by = $3, lease_expires_at = now() + $4::interval
  FROM (SELECT * FROM due LIMIT $5) AS due
 WHERE o.event_uid = due.event_uid AND o.subscription_id = due.subscription_id
   AND o.replay_number = due.replay_number
RETURNING o.*, (SELECT directory_version FROM organizations WHERE id = o.organization_id) AS directory_version
"""

RESCUE = """
WITH lapsed AS (
    SELECT event_uid, subscription_id, replay_number FROM open_deliveries
     WHERE state = 'leased' AND lease_expires_at < now()
     ORDER BY lease_expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE open_deliveries o
   SET claims_made = o.claims_made + 1, leased_by = $2, lease_expires_at = now() + $3::interval,
       begun_claim = o.begun_claim + (o.begun_claim = o.claims_made)::int  -- known even if the rescuer dies, too
  FROM lapsed
 WHERE o.event_uid = lapsed.event_uid AND o.subscription_id = lapsed.subscription_id
   AND o.replay_number = lapsed.replay_number
RETURNING o.*, (SELECT directory_version FROM organizations WHERE id = o.organization_id) AS directory_version,
          (SELECT line FROM ordered_deliveries s WHERE s.event_uid = o.event_uid
              AND s.subscription_id = o.subscription_id AND s.replay_number = o.replay_number) AS line
"""

# Of the endpoints $1 those that are limited and whose gates are open: whether they have limits, and whether lines.
KINDS = """
SELECT * FROM (
    SELECT id, EXISTS (SELECT FROM endpoint_limits l WHERE l.endpoint_id = id) AS has_limits,
           (SELECT true FROM ordered_deliveries s WHERE s.endpoint_id = id
             ORDER BY s.endpoint_id, s.line LIMIT 1) IS TRUE AS has_lines
      FROM unnest($1::text[]) AS id) AS kind
 WHERE (has_limits OR has_lines OR EXISTS (SELECT FROM endpoints e WHERE e.id = kind.id AND e.order_by IS NOT NULL))
   AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = kind.id AND g.until > now()
                      AND coalesce(g.probe_at, 'infinity') > now())
"""

BODIES = "SELECT uid, body FROM events WHERE uid = ANY ($1::uuid[])"

# Out of the way of the next claims, for longer than retention takes to come round.
SET_ASIDE = """
UPDATE open_deliveries d
   SET state = 'pending', leased_by = NULL, lease_expires_at = NULL, next_attempt_at = now() + interval '1 hour'
  FROM unnest($1::uuid[], $2::bigint[], $3::int[]) AS gone (event_uid, subscription_id, replay_number)
 WHERE d.event_uid = gone.event_uid AND d.subscription_id = gone.subscription_id
   AND d.replay_number = gone.replay_number
"""

# Whether a lease may still be used. An endpoint's own version may be one too high, so the organization's counts, too.
_WANTED = """d.leased_by IS NOT NULL AND d.claims_made = w.claim_number AND d.lease_expires_at > now()
   AND NOT EXISTS (SELECT FROM gates g WHERE g.endpoint_id = d.endpoint_id AND g.until > now()
                      AND coalesce(g.probe_at, 'infinity') > now())
   AND ((SELECT directory_version FROM organizations WHERE id = d.organization_id) <= w.directory_version
        OR (SELECT directory_version FROM endpoints WHERE id = d.endpoint_id) <= w.directory_version)"""
_LEASES = """unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::bigint[]) WITH ORDINALITY
       AS w (event_uid, subscription_id, replay_number, claim_number, directory_version, ordinal)"""
_OF_LEASES = """d.event_uid = w.event_uid AND d.subscription_id = w.subscription_id
   AND d.replay_number = w.replay_number"""

STILL_WANTED = f"SELECT w.ordinal FROM {_LEASES} JOIN open_deliveries d ON {_OF_LEASES} WHERE {_WANTED}"  # noqa: S608

# The number of a claim, not a flag: it needs no reset, as every later claim has another number.
BEGIN_POSTS = f"""
UPDATE open_deliveries d SET begun_claim = d.claims_made
  FROM {_LEASES}
 WHERE {_OF_LEASES} AND {_WANTED}
RETURNING w.ordinal
"""  # noqa: S608 - constants only

# What waits for a limited endpoint counts as gated while the endpoint is at its limit, and for a few seconds after each
# grant: it is at its limit then, too, but for the moments in which a worker claims.
BACKLOG = """
SELECT count(*) FILTER (WHERE NOT is_gated) AS due_count,
       coalesce(extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE NOT is_gated)), 0)::float8 AS due_age,
       count(*) FILTER (WHERE is_gated) AS gated_count,
       coalesce(extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE is_gated)), 0)::float8 AS gated_age
  FROM (SELECT next_attempt_at,
               endpoint_id IN (SELECT endpoint_id FROM shut_gates
                                UNION ALL SELECT endpoint_id FROM endpoint_limits
                                           WHERE measured_at > now() - interval '5 seconds') AS is_gated
          FROM open_deliveries WHERE state = 'pending' AND next_attempt_at <= now()
         LIMIT 100001) AS due
"""

FAN_OUTS_WAITING = "SELECT count(*) FROM (SELECT FROM fan_outs LIMIT 100001) AS waiting"

# The next organization after $1 that has fan-outs and is not in $2: one index probe for each that is passed over.
NEXT_TO_FAN_OUT = """
WITH RECURSIVE turn AS (
    (SELECT organization_id FROM fan_outs WHERE organization_id > $1 ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT following.organization_id FROM turn, LATERAL (
        SELECT organization_id FROM fan_outs
         WHERE organization_id > turn.organization_id ORDER BY organization_id LIMIT 1) AS following
)
SELECT organization_id FROM turn WHERE organization_id <> ALL ($2::text[]) LIMIT 1
"""

# Its oldest one, unless another worker is at it: then the one after. The event is null if it is past retention.
TAKE_FAN_OUT = """
SELECT f.event_uid, f.done_through, f.frontier, e.event_type, e.occurred_at, e.body
  FROM (SELECT * FROM fan_outs WHERE organization_id = $1 ORDER BY event_uid LIMIT 1 FOR UPDATE SKIP LOCKED) AS f
  LEFT JOIN events e ON e.uid = f.event_uid
"""

# $1 organization, $2 the patterns that cover the event type, the most specific first, $3 the last endpoint that was
# decided, $4 the newest subscription that counts, $5 the limit. Each pattern's endpoints are read in order, so the
# first $5 of all are among the first $5 of each. An endpoint is asking through its most specific subscription.
ASKING = """
SELECT found.endpoint_id, found.subscription_id, e.filter::text AS filter, e.order_by,
       e.valid_until <= now() AS has_expired
  FROM (SELECT DISTINCT ON (s.endpoint_id) s.endpoint_id, s.subscription_id
          FROM unnest($2::text[]) WITH ORDINALITY AS p (pattern, place), LATERAL (
               SELECT endpoint_id COLLATE "C" AS endpoint_id, id AS subscription_id FROM subscriptions
                WHERE organization_id = $1 AND event_type = p.pattern AND removed_at IS NULL AND id <= $4
                  AND endpoint_id COLLATE "C" > $3
                ORDER BY endpoint_id COLLATE "C" LIMIT $5) AS s
         ORDER BY s.endpoint_id, p.place, s.subscription_id LIMIT $5) AS found
  JOIN endpoints e ON e.id = found.endpoint_id
 ORDER BY found.endpoint_id
"""

# Latency and age count from the event, so that is when its deliveries were made, however late their turn came.
FAN_OUT = """
INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type, state,
                             claims_made, created_at)
SELECT e.uid, d.subscription_id, e.organization_id, d.endpoint_id, e.event_id, e.event_type, 'pending', 0,
       e.received_at
  FROM events e, unnest($2::bigint[], $3::text[]) AS d (subscription_id, endpoint_id)
 WHERE e.uid = $1
    ON CONFLICT DO NOTHING
RETURNING subscription_id
"""

SHUT_KINDS = "SELECT kind, count(*) FROM shut_gates GROUP BY kind"
