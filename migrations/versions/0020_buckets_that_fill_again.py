"""Rate limits as buckets that fill again at a steady pace, beside the windows that the last release counts in.

Revision: 0020
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Two columns would do, but whether a request passed cannot be read off a sum; RETURNING sees new values only.
    """CREATE UNLOGGED TABLE rate_buckets (
        bucket text PRIMARY KEY,
        used float8 NOT NULL CHECK (used >= 0),
        is_refused boolean NOT NULL,
        measured_at timestamptz NOT NULL) WITH (fillfactor = 50)""",
    """COMMENT ON COLUMN rate_buckets.bucket IS
        'An organization''s id after ''org:'', ''publish:'', ''verify:'' or ''rehearse:''; a key''s after ''key:''.'""",
    "COMMENT ON COLUMN rate_buckets.used IS 'How many of its requests were used at measured_at; less ever since.'",
    "COMMENT ON COLUMN rate_buckets.is_refused IS 'Whether the last request found no room.'",
)


def upgrade() -> None:
    """Add the table. Processes of the last release go on counting in rate_windows, which stays for them."""
    for statement in STATEMENTS:
        op.execute(statement)
