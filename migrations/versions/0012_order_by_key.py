"""Order by key: what an endpoint asks for, the lines in which its deliveries wait, and the heads of these lines.

Revision: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    """ALTER TABLE endpoints
        ADD order_by text CHECK (length(order_by) BETWEEN 1 AND 256),
        ADD order_wait_seconds float8 CHECK (order_wait_seconds BETWEEN 1 AND 86400)""",
    # Beside open_deliveries and not in it, so that endpoints without order pay nothing.
    """CREATE TABLE ordered_deliveries (
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        endpoint_id text NOT NULL,
        line uuid NOT NULL,
        place timestamptz NOT NULL,
        PRIMARY KEY (event_uid, subscription_id, replay_number))
        WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE ordered_deliveries IS
        'Open deliveries that stand in a line: those of one endpoint whose events have the same order key.'""",
    "COMMENT ON COLUMN ordered_deliveries.line IS 'A hash of the endpoint, the path and the value there.'",
    """COMMENT ON COLUMN ordered_deliveries.place IS
        'The event''s own time; of a replay, when it was asked for. Whoever is earlier goes first.'""",
    """CREATE INDEX ordered_deliveries_in_line ON ordered_deliveries
        (endpoint_id, line, place, event_uid, subscription_id, replay_number)""",
    # Its key is the promise: one delivery of a line has begun, whatever workers claim at once.
    """CREATE TABLE line_heads (
        line uuid PRIMARY KEY,
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        failed_at timestamptz)
        WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE line_heads IS
        'The delivery of each line that was claimed and has not ended; the others of its line wait for it.'""",
    "COMMENT ON COLUMN line_heads.failed_at IS 'When it failed first; some time after that it holds nobody up.'",
    # A delivery that waits in its line is due at infinity: no claim looks at it.
    """CREATE OR REPLACE VIEW deliveries AS
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, last_status, created_at, nullif(next_attempt_at, 'infinity') AS next_attempt_at,
               lease_expires_at, leased_by, NULL::timestamptz AS ended_at, claims_made, attempts_made
          FROM open_deliveries
         UNION ALL
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, last_status, created_at, NULL, NULL, NULL, ended_at, claims_made, attempts_made
          FROM final_deliveries""",
)


def upgrade() -> None:
    """Add the settings, the lines and their heads."""
    for statement in STATEMENTS:
        op.execute(statement)
