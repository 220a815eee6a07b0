"""The HTTP API: settings of endpoints, keys with limits, idempotency, own event types, and indexes for lists.

Revision: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # ------------------------------------------------------------------ what an endpoint asks for
    """ALTER TABLE endpoints
        ADD updated_at timestamptz NOT NULL DEFAULT now(),
        ADD description text NOT NULL DEFAULT '',
        ADD metadata jsonb NOT NULL DEFAULT '{}',
        ADD sealed_headers text CHECK (sealed_headers LIKE 'v1:%'),
        ADD signature_style text NOT NULL DEFAULT 'standard'
            CHECK (signature_style IN ('standard', 'sha256-body', 't-v1')),
        ADD signature_header text,
        ADD filter jsonb,
        ADD retry jsonb,
        ADD timeout_seconds float8 CHECK (timeout_seconds > 0)""",
    "COMMENT ON COLUMN endpoints.sealed_headers IS 'Extra headers as JSON, sealed: they often carry a password.'",
    "COMMENT ON COLUMN endpoints.filter IS 'The filter as it was written; null lets every event through.'",
    """COMMENT ON COLUMN endpoints.retry IS
        'A preset''s name or a list of delays in seconds; null is the service''s own schedule.'""",
    # The list of an organization's endpoints, newest first, removed ones (gone) included.
    "CREATE INDEX endpoints_by_organization ON endpoints (organization_id, created_at, id)",
    # The list of /api/v2/resthook_subscribers.
    """CREATE INDEX subscriptions_listed ON subscriptions (organization_id, created_at, id)
        WHERE removed_at IS NULL""",
    # For a resthook's modified_on, when a subscriber was last added or removed; explain reads an organization's by id.
    "CREATE INDEX subscriptions_by_type ON subscriptions (organization_id, event_type)",
    "CREATE INDEX subscriptions_by_organization ON subscriptions (organization_id, id)",
    # ------------------------------------------------------------------ keys
    """ALTER TABLE api_keys
        ADD name text NOT NULL DEFAULT '',
        ADD rate_limit_per_hour integer CHECK (rate_limit_per_hour > 0),
        ADD last_used_at timestamptz""",
    """COMMENT ON COLUMN api_keys.rate_limit_per_hour IS
        'A limit of its own; null shares the limit of the organization.'""",
    "CREATE INDEX api_keys_by_organization ON api_keys (organization_id)",
    # Updated by every request, and of no value after a crash, hence UNLOGGED.
    """CREATE UNLOGGED TABLE rate_windows (
        bucket text PRIMARY KEY,
        starts_at timestamptz NOT NULL,
        used integer NOT NULL) WITH (fillfactor = 50)""",
    "COMMENT ON COLUMN rate_windows.bucket IS 'An organization''s id after ''org:'', or a key''s after ''key:''.'",
    """CREATE TABLE idempotency_keys (
        organization_id text NOT NULL REFERENCES organizations (id),
        method text NOT NULL,
        path text NOT NULL,
        key text NOT NULL,
        request_digest bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        runs_until timestamptz,
        status integer,
        sealed_answer text CHECK (sealed_answer LIKE 'v1:%'),
        PRIMARY KEY (organization_id, method, path, key),
        CHECK ((status IS NULL) = (runs_until IS NOT NULL)),
        CHECK ((status IS NULL) = (sealed_answer IS NULL)))""",
    """COMMENT ON TABLE idempotency_keys IS
        'Requests that named themselves, and what was answered; sealed, for an answer may show a secret. Kept 24 h.'""",
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)",
    # ------------------------------------------------------------------ an organization's own event types
    """CREATE TABLE event_types (
        organization_id text NOT NULL REFERENCES organizations (id),
        name text NOT NULL,
        description text NOT NULL,
        schema text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (organization_id, name))""",
    "COMMENT ON COLUMN event_types.schema IS 'JSON Schema 2020-12 of the event''s data, as text. It never changes.'",
    # ------------------------------------------------------------------ lists of events and deliveries, newest first
    "ALTER TABLE events ADD message_id text, ADD reply_to_id text",
    "COMMENT ON COLUMN events.message_id IS 'data.message.id: what a message''s status is folded from.'",
    "COMMENT ON COLUMN events.reply_to_id IS 'data.reply_to.message_id: the message that this one answers.'",
    # With the type, so that a rare type is found without a walk through the others; "all types" merges them.
    "CREATE INDEX events_by_type ON events (organization_id, event_type, uid)",
    "CREATE INDEX events_by_message ON events (organization_id, message_id, uid) WHERE message_id IS NOT NULL",
    "CREATE INDEX events_by_reply_to ON events (organization_id, reply_to_id, uid) WHERE reply_to_id IS NOT NULL",
    "ALTER TABLE open_deliveries ADD last_status integer",
    "ALTER TABLE final_deliveries ADD last_status integer",
    "COMMENT ON COLUMN final_deliveries.last_status IS 'The HTTP status of the last attempt that got a reply.'",
    "CREATE INDEX open_deliveries_by_endpoint ON open_deliveries (endpoint_id, event_uid)",
    "DROP INDEX final_deliveries_by_endpoint",
    # Each row is in one of the two: in a single index, days of failures would bury earlier successes, and vice versa.
    """CREATE INDEX final_deliveries_by_endpoint_delivered ON final_deliveries (endpoint_id, event_type, event_uid)
        WHERE state = 'delivered'""",
    """CREATE INDEX final_deliveries_by_endpoint_failed ON final_deliveries (endpoint_id, event_type, event_uid)
        WHERE state <> 'delivered'""",
    "CREATE INDEX final_deliveries_by_type ON final_deliveries (organization_id, event_type, event_uid)",
    # For what people look for: few rows, as nearly every delivery is delivered with a 200.
    """CREATE INDEX final_deliveries_failed ON final_deliveries (organization_id, state, reason, event_uid)
        WHERE state <> 'delivered'""",
    """CREATE INDEX final_deliveries_by_status ON final_deliveries (organization_id, last_status, event_uid)
        WHERE last_status <> 200""",
    "DROP VIEW deliveries",
    """CREATE VIEW deliveries AS
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, last_status, created_at, next_attempt_at, lease_expires_at, leased_by,
               NULL::timestamptz AS ended_at, claims_made, attempts_made
          FROM open_deliveries
         UNION ALL
        SELECT event_uid, subscription_id, replay_number, organization_id, endpoint_id, event_id, event_type, state,
               reason, last_status, created_at, NULL, NULL, NULL, ended_at, claims_made, attempts_made
          FROM final_deliveries""",
    "COMMENT ON VIEW deliveries IS 'Every delivery, open and final: the table to look at when someone asks.'",
)


def upgrade() -> None:
    """Add the columns, tables and indexes that the API needs."""
    for statement in STATEMENTS:
        op.execute(statement)
