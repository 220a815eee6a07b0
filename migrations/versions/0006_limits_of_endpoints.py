"""The limits that an endpoint asks for, and what of them is used now.

Revision: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """ALTER TABLE endpoints
        ADD rate_limit_per_second float8 CHECK (rate_limit_per_second BETWEEN 0.001 AND 1000),
        ADD max_in_flight integer CHECK (max_in_flight BETWEEN 1 AND 1000)""",
    # The row that claims lock, one for each limited endpoint: narrow, and updated by every claim for the endpoint.
    """CREATE TABLE endpoint_limits (
        endpoint_id text PRIMARY KEY REFERENCES endpoints (id),
        rate_limit_per_second float8,
        max_in_flight integer,
        allowance float8 NOT NULL DEFAULT 1,
        measured_at timestamptz NOT NULL DEFAULT now(),
        opens_at timestamptz NOT NULL DEFAULT now(),
        limited_at timestamptz NOT NULL DEFAULT now(),
        CHECK (rate_limit_per_second IS NOT NULL OR max_in_flight IS NOT NULL))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    """COMMENT ON TABLE endpoint_limits IS
        'The limits of endpoints that ask for any. Whoever grants a lease for such an endpoint locks its row.'""",
    "COMMENT ON COLUMN endpoint_limits.allowance IS 'How many requests the rate permitted at measured_at.'",
    "COMMENT ON COLUMN endpoint_limits.opens_at IS 'When the rate permits the next request.'",
    """COMMENT ON COLUMN endpoint_limits.limited_at IS
        'Since when the endpoint has limits: leases granted before hold no place, and are counted by themselves.'""",
    # A row for each request that a limited endpoint may have in flight. Not a column of open_deliveries: a late 2xx
    # ends a delivery there although another worker may still be sending it.
    """CREATE TABLE endpoint_places (
        endpoint_id text NOT NULL,
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        claim_number integer NOT NULL,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (endpoint_id, event_uid, subscription_id, replay_number, claim_number))
        WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE endpoint_places IS
        'Who may be sending to a limited endpoint now: one row for each lease, until it is settled or has expired.'""",
    """CREATE VIEW limits_reached AS
        SELECT endpoint_id, 'rate_limit' AS kind, opens_at AS until FROM endpoint_limits WHERE opens_at > now()
         UNION ALL
        SELECT endpoint_id, 'max_in_flight', NULL FROM endpoint_limits l
         WHERE max_in_flight <= (SELECT count(*) FROM endpoint_places p
                                  WHERE p.endpoint_id = l.endpoint_id AND p.expires_at > now())""",
    "COMMENT ON VIEW limits_reached IS 'The endpoints that are at a limit of their own now; their deliveries wait.'",
)


def upgrade() -> None:
    """Add the settings, and the tables in which workers share them."""
    for statement in STATEMENTS:
        op.execute(statement)
