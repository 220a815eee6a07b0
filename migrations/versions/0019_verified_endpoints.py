"""When the receiver at an endpoint's URL last proved that it wants what is sent there.

Revision: 0019
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE endpoints ADD verified_at timestamptz, ADD verified_url_digest bytea",
    """COMMENT ON COLUMN endpoints.verified_url_digest IS
        'SHA-256 of the URL that was verified: once the endpoint has another one, verified_at says nothing.'""",
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
