"""The first schema: organizations and their endpoints, events, open and final deliveries, attempts.

Revision: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    # ------------------------------------------------------------------ closed sets; a test holds them to the enums
    """CREATE DOMAIN delivery_reason AS text CHECK (VALUE IN (
        'http_status', 'redirect', 'gone', 'payload_too_large', 'timeout', 'connect_refused', 'connect_reset', 'dns',
        'tls', 'protocol_error', 'blocked_destination', 'stale_connection', 'lost', 'internal', 'attempts_exhausted',
        'age_exceeded', 'crashes_worker', 'subscription_deleted'))""",
    "CREATE DOMAIN attempt_outcome AS text CHECK (VALUE IN ('accepted', 'failed', 'gone'))",
    # ------------------------------------------------------------------ who
    """CREATE TABLE organizations (
        id text PRIMARY KEY,
        directory_version bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now())""",
    """COMMENT ON COLUMN organizations.directory_version IS
        'Grows with every change of endpoints, subscriptions, secrets and pauses; workers compare it at each use.'""",
    """CREATE TABLE api_keys (
        id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations (id),
        digest bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        revoked_at timestamptz)""",
    "COMMENT ON COLUMN api_keys.digest IS 'SHA-256 of the whole key; the key itself is shown once and kept nowhere.'",
    """CREATE TABLE endpoints (
        id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations (id),
        url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
        is_paused boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        removed_at timestamptz,
        UNIQUE (organization_id, id))""",
    # One endpoint, so one secret, for each URL of an organization.
    "CREATE UNIQUE INDEX endpoints_by_url ON endpoints (organization_id, url) WHERE removed_at IS NULL",
    """CREATE TABLE endpoint_secrets (
        id text PRIMARY KEY,
        organization_id text NOT NULL,
        endpoint_id text NOT NULL,
        sealed text NOT NULL CHECK (sealed LIKE 'v1:%'),
        hint text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        FOREIGN KEY (organization_id, endpoint_id) REFERENCES endpoints (organization_id, id))""",
    "COMMENT ON COLUMN endpoint_secrets.hint IS 'Its last four characters: enough to tell two apart.'",
    "CREATE INDEX endpoint_secrets_by_endpoint ON endpoint_secrets (endpoint_id)",
    """CREATE TABLE subscriptions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization_id text NOT NULL,
        endpoint_id text NOT NULL,
        event_type text NOT NULL,
        target_url text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        removed_at timestamptz,
        removed_because text CHECK (removed_because IN ('deleted', 'gone')),
        CHECK ((removed_at IS NULL) = (removed_because IS NULL)),
        FOREIGN KEY (organization_id, endpoint_id) REFERENCES endpoints (organization_id, id))""",
    """CREATE UNIQUE INDEX subscriptions_active ON subscriptions (organization_id, event_type, target_url)
        WHERE removed_at IS NULL""",
    "CREATE INDEX subscriptions_by_endpoint ON subscriptions (endpoint_id)",
    # Narrow, with no index but its key, and updated often: a low fillfactor keeps updates on their page.
    """CREATE TABLE gates (
        endpoint_id text NOT NULL REFERENCES endpoints (id),
        kind text NOT NULL CHECK (kind IN ('paused', 'retry_after')),
        until timestamptz NOT NULL,
        PRIMARY KEY (endpoint_id, kind)) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)""",
    "COMMENT ON TABLE gates IS 'Why an endpoint may not be attempted now; its deliveries wait, and use no attempts.'",
    # ------------------------------------------------------------------ what
    """CREATE TABLE event_keys (
        organization_id text NOT NULL,
        event_id text NOT NULL,
        event_uid uuid NOT NULL,
        digest bytea NOT NULL,
        PRIMARY KEY (organization_id, event_id))""",
    """COMMENT ON TABLE event_keys IS
        'One event per (organization, event id), whatever its day: a unique key cannot span partitions.'""",
    # In time order, so that expired keys are found without scanning the table.
    "CREATE INDEX event_keys_by_uid ON event_keys (event_uid)",
    """CREATE TABLE events (
        uid uuid NOT NULL,
        organization_id text NOT NULL,
        event_id text NOT NULL,
        event_type text NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        is_test boolean NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (uid)) PARTITION BY RANGE (uid)""",
    "COMMENT ON COLUMN events.uid IS 'A UUIDv7: it starts with the time, so a range of uids is a day.'",
    "COMMENT ON COLUMN events.body IS 'The envelope, serialised once: the bytes signed and sent on every attempt.'",
    # ------------------------------------------------------------------ deliveries that can still move
    """CREATE TABLE open_deliveries (
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL DEFAULT 0 CHECK (replay_number >= 0),
        organization_id text NOT NULL,
        endpoint_id text NOT NULL,
        event_id text NOT NULL,
        event_type text NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'leased')),
        reason delivery_reason,
        created_at timestamptz NOT NULL DEFAULT now(),
        next_attempt_at timestamptz NOT NULL DEFAULT now(),
        lease_expires_at timestamptz,
        leased_by text,
        claims_made integer NOT NULL CHECK (claims_made >= 0),
        attempts_made integer NOT NULL DEFAULT 0 CHECK (attempts_made >= 0),
        attempts_recorded integer NOT NULL DEFAULT 0 CHECK (attempts_recorded >= attempts_made),
        lost_in_a_row integer NOT NULL DEFAULT 0 CHECK (lost_in_a_row >= 0),
        PRIMARY KEY (event_uid, subscription_id, replay_number),
        CHECK ((state = 'leased') = (lease_expires_at IS NOT NULL)),
        CHECK ((state = 'leased') = (leased_by IS NOT NULL)),
        CHECK (state = 'pending' OR claims_made > 0))
        WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE open_deliveries IS
        'Deliveries that are pending or leased. A delivery that ends moves to final_deliveries, in one statement.'""",
    "COMMENT ON COLUMN open_deliveries.claims_made IS 'The fencing token: who settles must name the latest claim.'",
    # A claim reads this index endpoint by endpoint, so its cost does not depend on the backlog.
    """CREATE INDEX open_deliveries_due ON open_deliveries (endpoint_id, next_attempt_at)
        WHERE state = 'pending'""",
    # Rescue reads the oldest leases.
    "CREATE INDEX open_deliveries_leases ON open_deliveries (lease_expires_at) WHERE state = 'leased'",
    # ------------------------------------------------------------------ deliveries that have ended
    """CREATE TABLE final_deliveries (
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        organization_id text NOT NULL,
        endpoint_id text NOT NULL,
        event_id text NOT NULL,
        event_type text NOT NULL,
        state text NOT NULL CHECK (state IN ('delivered', 'dead', 'cancelled')),
        reason delivery_reason,
        created_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL DEFAULT now(),
        claims_made integer NOT NULL,
        attempts_made integer NOT NULL,
        PRIMARY KEY (event_uid, subscription_id, replay_number),
        CHECK ((state = 'delivered') = (reason IS NULL))) PARTITION BY RANGE (event_uid)""",
    "COMMENT ON TABLE final_deliveries IS 'Deliveries that ended. Rows are inserted once and never change.'",
    # What happened to an endpoint, newest first.
    "CREATE INDEX final_deliveries_by_endpoint ON final_deliveries (endpoint_id, event_uid)",
    """CREATE TABLE attempts (
        event_uid uuid NOT NULL,
        subscription_id bigint NOT NULL,
        replay_number integer NOT NULL,
        number integer NOT NULL CHECK (number >= 1),
        claim_number integer NOT NULL,
        started_at timestamptz NOT NULL,
        duration_ms integer NOT NULL CHECK (duration_ms >= 0),
        outcome attempt_outcome NOT NULL,
        reason delivery_reason,
        status integer CHECK (status BETWEEN 100 AND 999),
        is_counted boolean NOT NULL,
        detail text NOT NULL,
        reply text NOT NULL,
        PRIMARY KEY (event_uid, subscription_id, replay_number, number),
        CHECK ((outcome = 'accepted') = (reason IS NULL))) PARTITION BY RANGE (event_uid)""",
    "COMMENT ON TABLE attempts IS 'One row per POST, and per lease that was lost. Rows are inserted once.'",
    """CREATE VIEW deliveries AS
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, created_at, next_attempt_at, lease_expires_at, leased_by, NULL::timestamptz AS ended_at,
               claims_made, attempts_made
          FROM open_deliveries
         UNION ALL
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, created_at, NULL, NULL, NULL, ended_at, claims_made, attempts_made
          FROM final_deliveries""",
    "COMMENT ON VIEW deliveries IS 'Every delivery, open and final: the table to look at when someone asks.'",
)


def upgrade() -> None:
    """Create everything."""
    for statement in STATEMENTS:
        op.execute(statement)
