"""Messages are found by their external id, too: what their sender calls them.

Revision: 0024
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE events ADD external_id text",
    "COMMENT ON COLUMN events.external_id IS 'data.message.external_id; null in what an older process recorded.'",
    # Of the days that are there each would be read under this lock: index_days makes theirs afterwards, beside writers.
    """CREATE INDEX events_by_external_id ON ONLY events (organization_id, external_id, uid)
        WHERE external_id IS NOT NULL""",
)


def upgrade() -> None:
    """Add the column, and its index without those of days."""
    for statement in STATEMENTS:
        op.execute(statement)
