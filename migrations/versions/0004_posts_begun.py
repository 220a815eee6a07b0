"""Which claim of a suspect has begun its POST, so that a lease lost before it counts for nothing.

Revision: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # Nullable and without a default: the lock is held for a moment, however many deliveries are open.
    "ALTER TABLE open_deliveries ADD COLUMN begun_claim integer",
    """COMMENT ON COLUMN open_deliveries.begun_claim IS
        'The claim whose POST is known to have begun. Written for suspects only: those with lost_in_a_row > 0.'""",
    """COMMENT ON COLUMN open_deliveries.lost_in_a_row IS
        'Leases lost since a reply last came, unless it is known that no POST had begun.'""",
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
