"""Sessions of the pages, and the links that open one.

Revision: 0026
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE web_sessions (
        digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
        organization_id text REFERENCES organizations,
        scopes text[] NOT NULL,
        key_id text REFERENCES api_keys ON DELETE CASCADE,
        made_by text,
        is_by_link boolean NOT NULL,
        used_at timestamptz NOT NULL DEFAULT now(),
        ends_at timestamptz NOT NULL
    )""",
    "CREATE INDEX web_sessions_by_organization ON web_sessions (organization_id)",
    "CREATE INDEX web_sessions_by_key ON web_sessions (key_id)",
    "COMMENT ON COLUMN web_sessions.organization_id IS 'Null: the operator, who sees all of them.'",
    """COMMENT ON COLUMN web_sessions.key_id IS
        'The session ends with this key. Null: a command made its link, and a command ends it.'""",
    """CREATE TABLE web_links (
        digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
        organization_id text REFERENCES organizations,
        scopes text[] NOT NULL,
        key_id text REFERENCES api_keys ON DELETE CASCADE,
        made_by text,
        lasts interval NOT NULL,
        ends_at timestamptz NOT NULL
    )""",
    "CREATE INDEX web_links_by_organization ON web_links (organization_id)",
    "CREATE INDEX web_links_by_key ON web_links (key_id)",
    "COMMENT ON COLUMN web_links.lasts IS 'How long the session may last that the link opens, for once.'",
)


def upgrade() -> None:
    """Create both tables."""
    for statement in STATEMENTS:
        op.execute(statement)
