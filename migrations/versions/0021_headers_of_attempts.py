"""What an attempt was signed with, and the headers of its reply: what a receiver's developer compares.

Revision: 0021
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = (
    # A long reader, such as a dump, would make the ALTER wait, and every settlement behind it: better to fail and be
    # run again.
    "SET LOCAL lock_timeout = '10s'",
    # No row is written, and no index made: the lock is held for a moment. Older processes leave the column null.
    "ALTER TABLE attempts ADD headers text",
    """COMMENT ON COLUMN attempts.headers IS
        'JSON: what of the request''s headers does not follow from the delivery (null for a value that is a secret),
        then the first of the reply''s. Null: not recorded.'""",
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
