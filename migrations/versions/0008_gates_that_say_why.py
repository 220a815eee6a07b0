"""Gates say why and since when they are shut; one view shows all of them; and since when an endpoint has been failing.

Revision: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE gates ADD since timestamptz NOT NULL DEFAULT now(), ADD detail text",
    "COMMENT ON COLUMN gates.detail IS 'What there is to say of this gate beyond its kind.'",
    """ALTER TABLE gates DROP CONSTRAINT gates_kind_check,
        ADD CONSTRAINT gates_kind_check CHECK (kind IN ('paused', 'disabled', 'retry_after'))""",
    """CREATE VIEW shut_gates AS
        SELECT endpoint_id, kind, since, CASE WHEN until < 'infinity' THEN until END AS until, detail
          FROM gates WHERE until > now()
         UNION ALL
        SELECT endpoint_id, kind, NULL, until, NULL FROM limits_reached""",
    "COMMENT ON VIEW shut_gates IS 'Why endpoints may not be attempted now: every gate that is shut, of every kind.'",
    # Failing attempts write here, successes only where they find a row. So endpoints that work have none.
    """CREATE TABLE breakers (
        endpoint_id text PRIMARY KEY REFERENCES endpoints (id),
        failing_since timestamptz,
        attempts_failed integer NOT NULL,
        CHECK ((failing_since IS NULL) = (attempts_failed = 0)))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    """COMMENT ON TABLE breakers IS
        'What is remembered of endpoints that fail. A success ends it, so that an endpoint that works has no row.'""",
    """COMMENT ON COLUMN breakers.failing_since IS
        'When the first attempt failed after the last success; null if none has since.'""",
    """COMMENT ON COLUMN breakers.attempts_failed IS
        'How many attempts have failed since then. Those that failed through our own fault do not count.'""",
)


def upgrade() -> None:
    """Add the columns, the view and the table."""
    for statement in STATEMENTS:
        op.execute(statement)
