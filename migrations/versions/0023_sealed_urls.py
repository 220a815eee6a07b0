"""Queries of target URLs are sealed, and found by a keyed digest.

Revision: 0023
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # Organizations that exist go on in clear, so that processes of the release before can read all they deliver to;
    # `posthorn secrets rewrap` changes them over. New ones begin sealed.
    """ALTER TABLE organizations
        ADD sealed_url_key text CHECK (sealed_url_key LIKE 'v1:%'),
        ADD seals_urls boolean NOT NULL DEFAULT false""",
    "ALTER TABLE organizations ALTER seals_urls SET DEFAULT true",
    "COMMENT ON COLUMN organizations.sealed_url_key IS 'The key of the digests in endpoints.url, sealed.'",
    """COMMENT ON COLUMN organizations.seals_urls IS
        'False: from before revision 0023, and queries of URLs are stored in clear until secrets rewrap.'""",
    # With a digest instead of a short query a URL is longer. NOT VALID: every row has kept the narrower rule.
    """ALTER TABLE endpoints
        ADD sealed_url text CHECK (sealed_url LIKE 'v1:%'),
        DROP CONSTRAINT endpoints_url_check,
        ADD CONSTRAINT endpoints_url_check CHECK (length(url) BETWEEN 1 AND 2100) NOT VALID,
        ADD CONSTRAINT endpoints_sealed_url_is_there
            CHECK (position('?#' IN url) = 0 OR sealed_url IS NOT NULL) NOT VALID""",
    """COMMENT ON COLUMN endpoints.url IS
        'The target URL; if it has a query, that is a digest after ?#, and the whole URL is in sealed_url.'""",
    "COMMENT ON COLUMN endpoints.sealed_url IS 'Of use only while url has a digest.'",
)


def upgrade() -> None:
    """Add the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
