"""Fan-out later, from the database; and endpoints that say when they last changed, so that copies change by the change.

Revision: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    # A long reader, such as a dump, would make this wait, and every settlement behind it: better to fail and be run
    # again.
    "SET LOCAL lock_timeout = '10s'",
    # ------------------------------------------------------------------ fan-out later
    # A row changes with every chunk, and is deleted with the last: room on its page, and early vacuuming.
    """CREATE TABLE fan_outs (
        event_uid uuid PRIMARY KEY,
        organization_id text NOT NULL,
        done_through text COLLATE "C" NOT NULL DEFAULT '',
        frontier bigint NOT NULL) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""",
    "COMMENT ON TABLE fan_outs IS 'Events that are recorded, but whose deliveries are still being made, in chunks.'",
    "COMMENT ON COLUMN fan_outs.done_through IS 'The last endpoint, in order of id, that was decided; empty at first.'",
    """COMMENT ON COLUMN fan_outs.frontier IS
        'The organization''s newest subscription when the event was recorded; later ones do not get the event.'""",
    "CREATE INDEX fan_outs_in_turn ON fan_outs (organization_id, event_uid)",
    # A chunk reads this in order of endpoint, for each pattern that covers the event type.
    """CREATE INDEX subscriptions_asking ON subscriptions (organization_id, event_type, endpoint_id COLLATE "C")
        WHERE removed_at IS NULL""",
    # ------------------------------------------------------------------ when an endpoint last changed
    "ALTER TABLE endpoints ADD directory_version bigint NOT NULL DEFAULT 0",
    """COMMENT ON COLUMN endpoints.directory_version IS
        'At least the version with which the endpoint, its subscriptions or secrets last changed; by trigger.'""",
    'CREATE INDEX endpoints_by_version ON endpoints (organization_id, directory_version, id COLLATE "C")',
    # By trigger, so that no writer can forget it: also a process of the last release, or a person with psql. Whether
    # the writer raises the version before or after, this is no lower than the version it commits. Higher by one only
    # means that a copy reads the endpoint twice.
    """CREATE FUNCTION stamp_directory_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.directory_version :=
                coalesce((SELECT directory_version FROM organizations WHERE id = NEW.organization_id), 0) + 1;
            RETURN NEW;
        END $$""",
    """CREATE TRIGGER stamp_endpoint BEFORE INSERT OR UPDATE ON endpoints
        FOR EACH ROW EXECUTE FUNCTION stamp_directory_version()""",
    "ALTER TABLE event_types ADD directory_version bigint NOT NULL DEFAULT 0",
    """COMMENT ON COLUMN event_types.directory_version IS
        'At least the directory version with which it was registered; by trigger.'""",
    """CREATE TRIGGER stamp_event_type BEFORE INSERT ON event_types
        FOR EACH ROW EXECUTE FUNCTION stamp_directory_version()""",
    """CREATE FUNCTION stamp_owners() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE endpoints SET directory_version = 0 WHERE id IN (SELECT endpoint_id FROM changed);
            RETURN NULL;
        END $$""",
    *(
        f"""CREATE TRIGGER stamp_owners_{verb.lower()} AFTER {verb} ON {table} REFERENCING {rows} TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION stamp_owners()"""
        for table in ("subscriptions", "endpoint_secrets")
        for verb, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
)


def upgrade() -> None:
    """Add the table of fan-outs, and what changes of a directory are found by."""
    for statement in STATEMENTS:
        op.execute(statement)
