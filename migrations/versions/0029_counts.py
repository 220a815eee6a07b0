"""Ended deliveries are counted by when their events came, so that figures over days are read from few rows.

Revision: 0029
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # A row of the present changes every few seconds: room on its page.
    """CREATE TABLE delivery_counts (
        organization_id text NOT NULL,
        endpoint_id text NOT NULL,
        width_seconds integer NOT NULL,
        starts_at timestamptz NOT NULL,
        delivered integer NOT NULL,
        dead integer NOT NULL,
        cancelled integer NOT NULL,
        time_slots smallint[] NOT NULL,
        time_attempts integer[] NOT NULL,
        PRIMARY KEY (organization_id, endpoint_id, width_seconds, starts_at))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    """COMMENT ON TABLE delivery_counts IS
        'Deliveries that have ended, by when their events came. counts_progress says which are counted.'""",
    "COMMENT ON COLUMN delivery_counts.endpoint_id IS 'Empty: all of the organization.'",
    """COMMENT ON COLUMN delivery_counts.time_slots IS
        'With time_attempts: how many attempts took up to 1.2 ^ slot ms, and more than 1.2 ^ (slot - 1).'""",
    "CREATE INDEX delivery_counts_by_age ON delivery_counts (width_seconds, starts_at)",
    # A table of its own: few endpoints have any, and an answer looks through all of an organization's.
    """CREATE TABLE healed_counts (
        organization_id text NOT NULL,
        width_seconds integer NOT NULL,
        starts_at timestamptz NOT NULL,
        endpoint_id text NOT NULL,
        deliveries integer NOT NULL,
        attempts_max integer NOT NULL,
        healed_at timestamptz NOT NULL,
        reason text,
        status integer,
        PRIMARY KEY (organization_id, width_seconds, starts_at, endpoint_id))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    "COMMENT ON TABLE healed_counts IS 'Of delivery_counts, the deliveries that arrived after a failed attempt.'",
    "COMMENT ON COLUMN healed_counts.reason IS 'Of the last failure of the delivery that arrived last.'",
    "CREATE INDEX healed_counts_by_age ON healed_counts (width_seconds, starts_at)",
    """CREATE TABLE counts_progress (
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        counted_from timestamptz,
        counted_until timestamptz,
        CHECK ((counted_from IS NULL) = (counted_until IS NULL)),
        CHECK (counted_from <= counted_until)) WITH (fillfactor = 10)""",
    """COMMENT ON TABLE counts_progress IS
        'One row, or none yet: counted is what ended from counted_from until before counted_until.'""",
    # What has ended since, for whoever counts. It grows at its end only, with one time for each commit.
    "CREATE INDEX final_deliveries_by_end ON ONLY final_deliveries (ended_at)",
)


def upgrade() -> None:
    """Add the tables, and the index without those of the days that are there: index_days makes these afterwards."""
    for statement in STATEMENTS:
        op.execute(statement)
