"""The version of an endpoint, which If-Match is compared with.

Revision: 0022
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE endpoints ADD version bigint NOT NULL DEFAULT 1",
    """COMMENT ON COLUMN endpoints.version IS
        'Grows with each change of the endpoint, its subscriptions or secrets; by trigger. Gates are none.'""",
    # By trigger, so that no writer can forget it, also a process of the last release. What changes subscriptions or
    # secrets updates their endpoint already (stamp_owners).
    """CREATE FUNCTION count_endpoint_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            RETURN NEW;
        END $$""",
    """CREATE TRIGGER count_version BEFORE UPDATE ON endpoints
        FOR EACH ROW EXECUTE FUNCTION count_endpoint_version()""",
)


def upgrade() -> None:
    """Add the column, and what counts it."""
    for statement in STATEMENTS:
        op.execute(statement)
