"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

STATEMENTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Say what changes, and why it is safe while the last release still runs."""
    for statement in STATEMENTS:
        op.execute(statement)
