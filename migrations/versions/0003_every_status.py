"""Every status that a status line can carry: a receiver may answer 000 or 099, and the attempt is a fact all the same.

Three digits make a status line valid (RFC 9112, section 4); below 100 they mean nothing, and a client treats the reply
as a 5xx (RFC 9110, section 15). Such an attempt was refused, its lease expired, and the delivery ended as
``crashes_worker``.

Revision: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    # A long reader, such as a dump, would make the ALTER wait, and every settlement behind it: better to fail and be
    # run again.
    "SET LOCAL lock_timeout = '10s'",
    # The lock that stops every settlement is held for a moment only: NOT VALID skips reading the attempts there are,
    # and they have kept the narrower rule. Both halves reach every partition, and each new one copies the new rule.
    """ALTER TABLE attempts
        DROP CONSTRAINT attempts_status_check,
        ADD CONSTRAINT attempts_status_check CHECK (status BETWEEN 0 AND 999) NOT VALID""",
    "COMMENT ON COLUMN attempts.status IS 'As the receiver sent it: any three digits, also those that mean nothing.'",
)


def upgrade() -> None:
    """Widen the CHECK on the status of an attempt."""
    for statement in STATEMENTS:
        op.execute(statement)
