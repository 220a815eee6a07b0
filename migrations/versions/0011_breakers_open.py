"""A breaker that opens: its gate, when it is tried again, and how many requests the endpoint may then have in flight.

Revision: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    """ALTER TABLE breakers
        ADD failures_in_a_row integer NOT NULL DEFAULT 0,
        ADD state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'ramp')),
        ADD opened_count integer NOT NULL DEFAULT 0,
        ADD changes_at timestamptz,
        ADD in_flight_max integer""",
    """COMMENT ON COLUMN breakers.changes_at IS
        'Open: when the endpoint is tried, one delivery at a time. In the ramp: when the next success ends it.'""",
    "ALTER TABLE gates ADD probe_at timestamptz",
    """COMMENT ON COLUMN gates.probe_at IS
        'From then on claims may pass, within the limits of the endpoint; but nothing is born leased.'""",
    """ALTER TABLE gates DROP CONSTRAINT gates_kind_check,
        ADD CONSTRAINT gates_kind_check CHECK (kind IN ('paused', 'disabled', 'retry_after', 'breaker'))""",
    """ALTER TABLE endpoint_limits ADD breaker_in_flight integer,
        DROP CONSTRAINT endpoint_limits_check,
        ADD CONSTRAINT endpoint_limits_check CHECK (
            rate_limit_per_second IS NOT NULL OR max_in_flight IS NOT NULL OR breaker_in_flight IS NOT NULL)""",
    "COMMENT ON COLUMN endpoint_limits.breaker_in_flight IS 'What its breaker allows; null unless that is shut.'",
    """CREATE OR REPLACE VIEW shut_gates AS
        SELECT endpoint_id, kind, since,
               CASE WHEN until < 'infinity' THEN until WHEN probe_at > now() THEN probe_at END AS until, detail
          FROM gates WHERE until > now()
         UNION ALL
        SELECT endpoint_id, kind, NULL, until, NULL FROM limits_reached""",
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
