"""The hot statements. Each is a transaction of its own: one round trip, one commit, however large the batch."""

# $1..$2 the versions of the cached directories; $3..$12 the events; $13..$16 their deliveries; $17 worker, $18 lease.
RECORD = """
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::bigint[]) AS w (organization_id, directory_version)
), stale AS (
    -- A subscription answered before this event was published is in this snapshot, so it is noticed here.
    SELECT w.organization_id FROM wanted w LEFT JOIN organizations o ON o.id = w.organization_id
     WHERE o.directory_version IS DISTINCT FROM w.directory_version
), incoming AS (
    SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::boolean[],
                         $9::bytea[], $10::bytea[], $11::text[], $12::text[])
        AS i (uid, organization_id, event_id, event_type, occurred_at, is_test, body, digest, message_id, reply_to_id)
), fresh AS (
    INSERT INTO event_keys (organization_id, event_id, event_uid, digest)
    SELECT organization_id, event_id, uid, digest FROM incoming WHERE NOT EXISTS (SELECT FROM stale)
        ON CONFLICT DO NOTHING
    RETURNING event_uid
), kept AS (
    INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body, message_id,
                        reply_to_id)
    SELECT i.uid, i.organization_id, i.event_id, i.event_type, i.occurred_at, i.is_test, i.body, i.message_id,
           i.reply_to_id
      FROM incoming i JOIN fresh ON fresh.event_uid = i.uid
), shut AS (
    SELECT endpoint_id FROM gates WHERE until > now()
), born AS (
    INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                 state, claims_made, leased_by, lease_expires_at)
    SELECT d.event_uid, d.subscription_id, i.organization_id, d.endpoint_id, i.event_id, i.event_type,
           CASE WHEN is_leased THEN 'leased' ELSE 'pending' END, is_leased::int,
           CASE WHEN is_leased THEN $17 END, CASE WHEN is_leased THEN now() + $18::interval END
      FROM unnest($13::uuid[], $14::bigint[], $15::text[], $16::boolean[])
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

KNOWN = """
SELECT k.organization_id, k.event_id, k.digest
  FROM unnest($1::text[], $2::text[]) AS i (organization_id, event_id)
  JOIN event_keys k ON k.organization_id = i.organization_id AND k.event_id = i.event_id
"""

# $1..$4 key and claim; $5 final state or null, $6 reason, $7 seconds to wait; $8..$16 the attempt, nulls if none was
# made. Each array costs asyncpg 4 us, however short, so values that follow from others are not passed.
# A 2xx is a fact and moves any open delivery; everything else must hold the latest claim. "leased_by IS NOT NULL" means
# leased (a CHECK keeps the two in step), but does not tempt the planner into scanning the index of all leases.
SETTLE = """
WITH settled AS (
    SELECT *, number IS NOT NULL AS is_tried
      FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::text[], $6::text[], $7::float8[],
                  $8::int[], $9::timestamptz[], $10::int[], $11::text[], $12::text[], $13::int[], $14::boolean[],
                  $15::text[], $16::text[]) WITH ORDINALITY
        AS s (event_uid, subscription_id, replay_number, claim_number, final_state, final_reason, delay_seconds,
              number, started_at, duration_ms, outcome, reason, status, is_counted, detail, reply, ordinal)
), tried AS (
    INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
                          outcome, reason, status, is_counted, detail, reply)
    SELECT event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
           outcome, reason, status, is_counted, detail, reply
      FROM settled WHERE is_tried
        ON CONFLICT DO NOTHING
    RETURNING event_uid
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
       SET state = 'pending', reason = s.final_reason, last_status = coalesce(s.status, d.last_status),
           leased_by = NULL, lease_expires_at = NULL,
           next_attempt_at = now() + s.delay_seconds * interval '1 second',
           attempts_made = d.attempts_made + (s.is_counted IS TRUE)::int,
           attempts_recorded = d.attempts_recorded + s.is_tried::int,
           lost_in_a_row = CASE WHEN s.reason = 'lost' THEN d.lost_in_a_row + 1 ELSE 0 END
      FROM settled s
     WHERE s.final_state IS NULL
       AND d.event_uid = s.event_uid AND d.subscription_id = s.subscription_id AND d.replay_number = s.replay_number
       AND d.leased_by IS NOT NULL AND d.claims_made = s.claim_number
    RETURNING s.ordinal
)
SELECT (SELECT array_agg(ordinal) FROM settled
         WHERE ordinal NOT IN (SELECT ordinal FROM ended UNION ALL SELECT ordinal FROM again)) AS unmoved,
       (SELECT count(*) FROM tried) AS tried
"""

# An attempt whose number was taken (its lease was rescued and counted as lost meanwhile) gets the next free one;
# the same attempt written twice (a COMMIT whose answer was lost) is recognised by its claim.
RECORD_LATE_ATTEMPT = """
INSERT INTO attempts (event_uid, subscription_id, replay_number, number, claim_number, started_at, duration_ms,
                      outcome, reason, status, is_counted, detail, reply)
SELECT late.event_uid, late.subscription_id, late.replay_number, 1 + known.number, late.claim_number, late.started_at,
       late.duration_ms, late.outcome, late.reason, late.status, late.is_counted, late.detail, late.reply
  FROM (SELECT $1::uuid, $2::bigint, $3::int, $4::int, $5::int, $6::timestamptz, $7::int, $8::text, $9::text,
               $10::int, $11::boolean, $12::text, $13::text)
           AS late (event_uid, subscription_id, replay_number, claim_number, number, started_at, duration_ms,
                    outcome, reason, status, is_counted, detail, reply),
       LATERAL (SELECT max(number) AS number, bool_or(a.claim_number = late.claim_number
                                                      AND a.reason IS NOT DISTINCT FROM late.reason) AS is_written
                  FROM attempts a
                 WHERE a.event_uid = late.event_uid AND a.subscription_id = late.subscription_id
                   AND a.replay_number = late.replay_number) AS known
 WHERE NOT known.is_written
"""

SHUT_GATES = """
INSERT INTO gates (endpoint_id, kind, until)
SELECT endpoint_id, kind, now() + max(seconds) * interval '1 second'
  FROM unnest($1::text[], $2::text[], $3::float8[]) AS g (endpoint_id, kind, seconds)
 GROUP BY endpoint_id, kind ORDER BY endpoint_id, kind
    ON CONFLICT (endpoint_id, kind) DO UPDATE SET until = greatest(gates.until, excluded.until)
"""

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
SELECT endpoint_id,
       next_attempt_at <= now() AND NOT EXISTS (
           SELECT FROM gates WHERE gates.endpoint_id = turn.endpoint_id AND gates.until > now()) AS is_due
  FROM turn
"""

# $1 the endpoints whose turn it is, $2 the limit for each, $3 worker, $4 lease, $5 the sum of $2: a bound that the
# planner can see; without it the planner expects a tenth of the table and reads all of it.
CLAIM = """
WITH due AS (
    SELECT d.* FROM unnest($1::text[], $2::int[]) AS turn (endpoint_id, share), LATERAL (
        SELECT event_uid, subscription_id, replay_number FROM open_deliveries o
         WHERE o.state = 'pending' AND o.endpoint_id = turn.endpoint_id AND o.next_attempt_at <= now()
         ORDER BY o.next_attempt_at LIMIT turn.share FOR UPDATE SKIP LOCKED
    ) AS d
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
   SET claims_made = o.claims_made + 1, leased_by = $2, lease_expires_at = now() + $3::interval
  FROM lapsed
 WHERE o.event_uid = lapsed.event_uid AND o.subscription_id = lapsed.subscription_id
   AND o.replay_number = lapsed.replay_number
RETURNING o.*, (SELECT directory_version FROM organizations WHERE id = o.organization_id) AS directory_version
"""

BODIES = "SELECT uid, body FROM events WHERE uid = ANY ($1::uuid[])"

RELEASE = """
UPDATE open_deliveries d
   SET state = 'pending', leased_by = NULL, lease_expires_at = NULL, next_attempt_at = now()
  FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[])
       AS r (event_uid, subscription_id, replay_number, claim_number)
 WHERE d.event_uid = r.event_uid AND d.subscription_id = r.subscription_id AND d.replay_number = r.replay_number
   AND d.state = 'leased' AND d.claims_made = r.claim_number
"""

BACKLOG = """
SELECT count(*) FILTER (WHERE NOT is_gated) AS due_count,
       coalesce(extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE NOT is_gated)), 0)::float8 AS due_age,
       count(*) FILTER (WHERE is_gated) AS gated_count,
       coalesce(extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE is_gated)), 0)::float8 AS gated_age
  FROM (SELECT next_attempt_at,
               endpoint_id IN (SELECT endpoint_id FROM gates WHERE until > now()) AS is_gated
          FROM open_deliveries WHERE state = 'pending' AND next_attempt_at <= now()
         LIMIT 100001) AS due
"""
