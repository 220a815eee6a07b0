"""An attempt can fail because of the operator's egress proxy, with a reason of its own.

Revision: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    # NOT VALID: every row has kept the narrower rule, and reading them all would take a lock on each table meanwhile.
    """ALTER DOMAIN delivery_reason DROP CONSTRAINT delivery_reason_check""",
    """ALTER DOMAIN delivery_reason ADD CONSTRAINT delivery_reason_check CHECK (VALUE IN (
        'http_status', 'redirect', 'gone', 'payload_too_large', 'timeout', 'connect_refused', 'connect_reset', 'dns',
        'tls', 'protocol_error', 'blocked_destination', 'stale_connection', 'lost', 'internal', 'attempts_exhausted',
        'age_exceeded', 'crashes_worker', 'subscription_deleted', 'past_retention', 'egress_proxy')) NOT VALID""",
)


def upgrade() -> None:
    """Widen the set of reasons."""
    for statement in STATEMENTS:
        op.execute(statement)
