"""Replay jobs: many deliveries of old events, made in steps that each are one transaction.

Revision: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # A row changes with every step: room on its page.
    """CREATE TABLE replay_jobs (
        id text COLLATE "C" PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations (id),
        endpoint_id text,
        event_type text,
        event_uids uuid[] NOT NULL,
        subscription_ids bigint[] NOT NULL,
        since timestamptz,
        until timestamptz,
        states text[] NOT NULL,
        rate integer NOT NULL CHECK (rate > 0),
        state text NOT NULL DEFAULT 'pending'
            CHECK (state IN ('pending', 'running', 'paused', 'done', 'cancelled', 'failed')),
        reason text,
        total_count bigint NOT NULL DEFAULT 0,
        created_count bigint NOT NULL DEFAULT 0,
        superseded_count bigint NOT NULL DEFAULT 0,
        subscription_removed_count bigint NOT NULL DEFAULT 0,
        event_dropped_count bigint NOT NULL DEFAULT 0,
        parts_uncounted integer NOT NULL,
        parts_left integer NOT NULL,
        last_part text COLLATE "C" NOT NULL DEFAULT '',
        tokens float8 NOT NULL DEFAULT 0,
        measured_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        started_at timestamptz,
        ended_at timestamptz,
        CHECK ((ended_at IS NULL) = (state IN ('pending', 'running', 'paused'))))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    """COMMENT ON TABLE replay_jobs IS
        'Replays of many deliveries. Whoever takes a job''s next step, or tells it to pause, locks its row.'""",
    """COMMENT ON COLUMN replay_jobs.event_uids IS
        'The deliveries named one by one: event and subscription, as in subscription_ids. Empty: see the filters.'""",
    "COMMENT ON COLUMN replay_jobs.tokens IS 'How many deliveries the rate permitted at measured_at.'",
    # Workers look here again and again; most of the time it is empty.
    "CREATE INDEX replay_jobs_live ON replay_jobs (organization_id, id) WHERE ended_at IS NULL",
    "CREATE INDEX replay_jobs_listed ON replay_jobs (organization_id, created_at, id)",
    "CREATE INDEX replay_jobs_ended ON replay_jobs (ended_at)",
    """CREATE TABLE replay_parts (
        job_id text COLLATE "C" NOT NULL REFERENCES replay_jobs (id) ON DELETE CASCADE,
        endpoint_id text COLLATE "C" NOT NULL,
        event_types text[],
        counted_event_uid uuid,
        counted_subscription_id bigint,
        is_counted boolean NOT NULL DEFAULT false,
        done_event_uid uuid,
        done_subscription_id bigint,
        is_done boolean NOT NULL DEFAULT false,
        window_size integer NOT NULL,
        rests_until timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (job_id, endpoint_id))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    "COMMENT ON TABLE replay_parts IS 'One endpoint''s part of a replay job, with a cursor of its own.'",
    """COMMENT ON COLUMN replay_parts.event_types IS
        'The types that occur among its deliveries; null before the first step.'""",
    """COMMENT ON COLUMN replay_parts.done_event_uid IS
        'The cursor, with done_subscription_id: all that matches up to here has been dealt with.'""",
    """COMMENT ON COLUMN replay_parts.window_size IS
        'How many of its deliveries may wait for their first attempt before it makes more.'""",
    "COMMENT ON COLUMN replay_parts.rests_until IS 'While many of its retries wait, nobody looks at it until then.'",
    "CREATE INDEX replay_parts_left ON replay_parts (job_id, endpoint_id) WHERE NOT is_done",
    # A table of its own: open_deliveries is not touched, and not locked, however many deliveries are open.
    """CREATE TABLE replay_made (
        job_id text COLLATE "C" NOT NULL REFERENCES replay_jobs (id) ON DELETE CASCADE,
        endpoint_id text COLLATE "C" NOT NULL,
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        PRIMARY KEY (job_id, endpoint_id, event_uid, subscription_id, replay_number))
        WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE replay_made IS
        'What a job has made, until a later step of its part finds that it has ended.'""",
)


def upgrade() -> None:
    """Add the tables of jobs, their parts, and what these have made."""
    for statement in STATEMENTS:
        op.execute(statement)
