"""An organization's own event types have a sample of their data.

Revision: 0025
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE event_types ADD sample text",
    """COMMENT ON COLUMN event_types.sample IS
        'JSON that the schema allows. Null: the schema yields none and none was given, or it is from before 0025.'""",
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
