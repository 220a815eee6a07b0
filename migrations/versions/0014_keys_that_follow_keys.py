"""API keys show how they end, and are rotated: another one follows, and goes on in the same rate limit.

Revision: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    """ALTER TABLE api_keys
        ADD hint text NOT NULL DEFAULT '' CHECK (length(hint) <= 4),
        ADD counted_as text,
        ADD replaced_by text""",
    "COMMENT ON COLUMN api_keys.hint IS 'How the key ends; empty for keys made before revision 0014.'",
    """COMMENT ON COLUMN api_keys.counted_as IS
        'The first key of its rotations, whose rate limit it goes on in; null for that key itself.'""",
    "COMMENT ON COLUMN api_keys.replaced_by IS 'The key that followed it when it was rotated.'",
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
