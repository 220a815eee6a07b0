"""Events and attempts say which transaction recorded them, so that a stream reads what was committed since a snapshot.

Revision: 0028
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # By default, so that the statements of the hot road stay as they are. It is not volatile: rows that are there are
    # not written again, they all show the transaction of this revision.
    *(
        statement
        for table in ("events", "attempts")
        for statement in (
            f"ALTER TABLE {table} ADD recorded_in xid8 NOT NULL DEFAULT pg_current_xact_id()",
            f"COMMENT ON COLUMN {table}.recorded_in IS 'The transaction, for what is committed since a snapshot.'",
            # Nothing is read under this lock: index_days makes the indexes of the days that are there.
            f"CREATE INDEX {table}_by_transaction ON ONLY {table} (recorded_in)",
        )
    ),
)


def upgrade() -> None:
    """Add the columns, and their indexes without those of days."""
    for statement in STATEMENTS:
        op.execute(statement)
