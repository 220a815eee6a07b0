"""Endpoints that expire: an instant from which on they get nothing more, and the reasons that say so.

Revision: 0030
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE endpoints ADD valid_until timestamptz",
    "COMMENT ON COLUMN endpoints.valid_until IS 'From then on the endpoint gets nothing more. Null: it has no end.'",
    # No row has an end yet, so the index is made at once.
    """CREATE INDEX endpoints_by_expiry ON endpoints (valid_until, id)
        WHERE removed_at IS NULL AND valid_until IS NOT NULL""",
    # NOT VALID: every row has kept the narrower rule, and reading them all would take a lock on each table meanwhile.
    "ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_removed_because_check",
    """ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_removed_because_check
        CHECK (removed_because IN ('deleted', 'gone', 'expired')) NOT VALID""",
    "ALTER DOMAIN delivery_reason DROP CONSTRAINT delivery_reason_check",
    """ALTER DOMAIN delivery_reason ADD CONSTRAINT delivery_reason_check CHECK (VALUE IN (
        'http_status', 'redirect', 'gone', 'payload_too_large', 'timeout', 'connect_refused', 'connect_reset', 'dns',
        'tls', 'protocol_error', 'blocked_destination', 'stale_connection', 'lost', 'internal', 'attempts_exhausted',
        'age_exceeded', 'crashes_worker', 'subscription_deleted', 'past_retention', 'egress_proxy', 'auth_refused',
        'auth_unavailable', 'endpoint_expired')) NOT VALID""",
)


def upgrade() -> None:
    """Add the column and its index, and widen the sets of reasons."""
    for statement in STATEMENTS:
        op.execute(statement)
