"""The audit log: rows are only added, and deleted when they are old.

Revision: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '10s'",
    # No foreign key: an entry outlives what it is about, and locks nothing but itself.
    """CREATE TABLE audit_log (
        id text COLLATE "C" PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        organization_id text COLLATE "C",
        actor_kind text NOT NULL,
        actor_id text COLLATE "C" NOT NULL CHECK (octet_length(actor_id) <= 256),
        address text CHECK (octet_length(address) <= 64),
        operation text COLLATE "C" NOT NULL,
        object_id text COLLATE "C" NOT NULL CHECK (octet_length(object_id) <= 256),
        before jsonb CHECK (octet_length(before::text) <= 65536),
        after jsonb CHECK (octet_length(after::text) <= 65536))""",
    "COMMENT ON TABLE audit_log IS 'Who changed what, written by the transaction that made the change.'",
    "COMMENT ON COLUMN audit_log.organization_id IS 'Null: the change concerns no organization, or all of them.'",
    # Each filter of the list has an index that is in the list's order.
    "CREATE INDEX audit_log_listed ON audit_log (at, id)",
    "CREATE INDEX audit_log_of_organization ON audit_log (organization_id, at, id)",
    "CREATE INDEX audit_log_of_object ON audit_log (object_id, at, id)",
    "CREATE INDEX audit_log_of_actor ON audit_log (organization_id, actor_id, at, id)",
    "CREATE INDEX audit_log_of_operation ON audit_log (organization_id, operation, at, id)",
    # A trigger, not grants: the service mostly owns its tables, and an owner's rights cannot be taken away.
    """CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
           RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP
                 USING ERRCODE = 'insufficient_privilege',
                       HINT = 'Entries may be deleted once they are 30 days old.';
       END $$""",
    """CREATE TRIGGER audit_log_never_changes BEFORE UPDATE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()""",
    """CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log
        FOR EACH ROW WHEN (OLD.at > now() - interval '30 days') EXECUTE FUNCTION audit_log_is_append_only()""",
)


def upgrade() -> None:
    """Add the table, its indexes and its triggers."""
    for statement in STATEMENTS:
        op.execute(statement)
