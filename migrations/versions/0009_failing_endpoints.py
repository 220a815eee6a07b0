"""What was done about endpoints that fail for days.

Revision: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE failing_endpoints (
        endpoint_id text PRIMARY KEY REFERENCES endpoints (id),
        failing_since timestamptz NOT NULL,
        stage smallint NOT NULL CHECK (stage BETWEEN 1 AND 3),
        attempts_failed integer NOT NULL)""",
    """COMMENT ON TABLE failing_endpoints IS
        'Endpoints whose organization was told that they fail. A row ends when the streak of its breaker does.'""",
    "COMMENT ON COLUMN failing_endpoints.stage IS '1 and 2: warned; 3: disabled.'",
    "COMMENT ON COLUMN failing_endpoints.attempts_failed IS 'As many attempts had failed when it came to its stage.'",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.execute(statement)
