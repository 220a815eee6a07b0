"""Secrets that keep a style of their own while an endpoint changes its style; public keys.

Revision: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # NOT VALID: every row has kept the narrower rule, and reading them all would stop whoever uses the table meanwhile.
    """ALTER TABLE endpoints
        DROP CONSTRAINT endpoints_signature_style_check,
        ADD CONSTRAINT endpoints_signature_style_check
            CHECK (signature_style IN ('standard', 'ed25519', 'sha256-body', 't-v1')) NOT VALID""",
    """ALTER TABLE endpoint_secrets
        ADD signature_style text CHECK (signature_style IN ('standard', 'ed25519', 'sha256-body', 't-v1')),
        ADD signature_header text,
        ADD public_key text CHECK (public_key LIKE 'whpk_%')""",
    """COMMENT ON COLUMN endpoint_secrets.signature_style IS
        'Null: it signs in its endpoint''s style. Otherwise in this one, which the endpoint has left.'""",
    "COMMENT ON COLUMN endpoint_secrets.public_key IS 'Of a pair of keys; the private one is sealed.'",
)


def upgrade() -> None:
    """Add the style and the columns."""
    for statement in STATEMENTS:
        op.execute(statement)
