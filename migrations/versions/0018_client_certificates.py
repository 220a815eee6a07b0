"""When the client certificate of an endpoint expires, in the clear, so that it can be told in time.

Revision: 0018
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE endpoints ADD auth_expires_at timestamptz",
    "COMMENT ON COLUMN endpoints.auth_expires_at IS 'When the client certificate in sealed_auth expires.'",
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
