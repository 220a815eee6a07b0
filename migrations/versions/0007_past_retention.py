"""A delivery that is still open when its event is about to be deleted ends as dead, with a reason of its own.

Revision: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    # NOT VALID: every row has kept the narrower rule, and reading them all would take a lock on each table meanwhile.
    """ALTER DOMAIN delivery_reason DROP CONSTRAINT delivery_reason_check""",
    """ALTER DOMAIN delivery_reason ADD CONSTRAINT delivery_reason_check CHECK (VALUE IN (
        'http_status', 'redirect', 'gone', 'payload_too_large', 'timeout', 'connect_refused', 'connect_reset', 'dns',
        'tls', 'protocol_error', 'blocked_destination', 'stale_connection', 'lost', 'internal', 'attempts_exhausted',
        'age_exceeded', 'crashes_worker', 'subscription_deleted', 'past_retention')) NOT VALID""",
    # Retention deletes a thirtieth of the keys each day; with the default the index keeps six days of dead ones.
    "ALTER TABLE event_keys SET (autovacuum_vacuum_scale_factor = 0.05)",
    "ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.05)",
)


def upgrade() -> None:
    """Widen the set of reasons."""
    for statement in STATEMENTS:
        op.execute(statement)
