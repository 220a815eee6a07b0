"""Events are found by the brand, campaign or project that they belong to.

Revision: 0027
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    "ALTER TABLE events ADD brand_id text, ADD campaign_id text, ADD project_id text",
    "COMMENT ON COLUMN events.brand_id IS 'data.scope.brand_id; null in what an older process recorded.'",
    "COMMENT ON COLUMN events.campaign_id IS 'data.scope.campaign_id; null in what an older process recorded.'",
    "COMMENT ON COLUMN events.project_id IS 'data.scope.project_id; null in what an older process recorded.'",
    # index_days makes those of the days that are there, as in 0024.
    """CREATE INDEX events_by_brand ON ONLY events (organization_id, brand_id, event_type, uid)
        WHERE brand_id IS NOT NULL""",
    """CREATE INDEX events_by_campaign ON ONLY events (organization_id, campaign_id, event_type, uid)
        WHERE campaign_id IS NOT NULL""",
    """CREATE INDEX events_by_project ON ONLY events (organization_id, project_id, event_type, uid)
        WHERE project_id IS NOT NULL""",
)


def upgrade() -> None:
    """Add the columns, and their indexes without those of days."""
    for statement in STATEMENTS:
        op.execute(statement)
