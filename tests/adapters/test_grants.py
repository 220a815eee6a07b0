"""What the service's role may do, and what it may not. The other suites run as that role: it may do all that they need."""

import os
import subprocess
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.grants import NARROWER, WORKED, grant_to
from service.adapters.postgres.partitions import PARTITIONED
from service.adapters.postgres.schema import migrate_schema
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.postgres.binaries import find_binaries
from service.ports.errors import RefusedError, UnavailableError

ROLES_SQL = Path(__file__).resolve().parents[2] / "deploy/postgres/roles.sql"

pytestmark = pytest.mark.servers

FORBIDDEN = {
    "become another role": "CREATE ROLE another SUPERUSER",
    "make a database": "CREATE DATABASE another",
    "run a program": "COPY organizations TO PROGRAM 'cat'",
    "read the server's files": "SELECT pg_read_file('/etc/passwd')",
    "write the server's files": "COPY organizations TO '/tmp/organizations'",
    "see other roles' passwords": "SELECT rolpassword FROM pg_authid",
    "change the server": "ALTER SYSTEM SET log_statement = 'all'",
    "claim another schema": "UPDATE alembic_version SET version_num = '0001'",
    "change a table of the directory": "ALTER TABLE endpoints ADD url_too text",
    "watch keys": "CREATE TRIGGER watch AFTER INSERT ON api_keys EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "rewrite the audit log": "UPDATE audit_log SET actor_id = 'nobody'",
    "lock an entry": "SELECT FROM audit_log FOR UPDATE",
    "empty the audit log": "TRUNCATE audit_log",
    "disarm the audit log": "ALTER TABLE audit_log DISABLE TRIGGER USER",
    "forget an organization": "DELETE FROM organizations",
    "forget endpoints": "TRUNCATE endpoints CASCADE",
    "forget a subscription": "DELETE FROM subscriptions",
    "change what an event type promised": "UPDATE event_types SET schema = 'true'",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_the_service_may_not(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_service_owns_the_tables_it_works_in_and_no_other(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        """SELECT relname, pg_get_userbyid(relowner) = current_user AS is_own FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition"""
    )
    others_days = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r' AND pg_get_userbyid(relowner) <> current_user"
    )
    await connection.close()
    assert {row["relname"] for row in rows if row["is_own"]} == set(WORKED)
    assert set(NARROWER) <= {row["relname"] for row in rows if not row["is_own"]}
    assert others_days == 0


async def test_the_migrating_role_alters_what_the_service_owns(owner_database_url: str) -> None:
    connection = await asyncpg.connect(owner_database_url)
    change = connection.transaction()
    await change.start()
    for table in (*PARTITIONED, "gates", "endpoints"):
        await connection.execute(f"ALTER TABLE {table} ADD of_a_later_release text")
    await change.rollback()
    await connection.close()


async def test_granting_again_waits_for_nobody_who_uses_the_tables(database_url: str, owner_database_url: str) -> None:
    service, owner = await asyncpg.connect(database_url), await asyncpg.connect(owner_database_url)
    try:
        async with service.transaction():
            await service.execute("SELECT FROM events, open_deliveries, endpoints")
            await owner.execute("SET lock_timeout = 1")
            await grant_to(owner, make_url(database_url).username or "")
    finally:
        await service.close()
        await owner.close()


async def test_a_day_that_the_migration_made_is_the_services(database_url: str, owner_database_url: str) -> None:
    service = await asyncpg.connect(database_url)
    try:
        day = await service.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^attempts_[0-9]{8}$'")
        await service.execute(f"DROP TABLE {day}")
        await migrate_schema(owner_database_url, service_role=make_url(database_url).username or "")
        await service.execute(f"DROP TABLE {day}")
        await migrate_schema(owner_database_url, service_role=make_url(database_url).username or "")
    finally:
        await service.close()


@pytest.mark.parametrize(
    ("role", "says"),
    [
        ("nobody_of_this_name", "create it first: CREATE ROLE"),
        ('"; DROP TABLE events; --', "there is no role"),
        ("pg_monitor", "must be a member of 'pg_monitor': GRANT pg_monitor TO "),
    ],
)
async def test_a_role_that_cannot_be_granted_anything_is_named_with_what_to_do(
    owner_database_url: str, role: str, says: str
) -> None:
    with pytest.raises(RefusedError, match=says):
        await migrate_schema(owner_database_url, service_role=role)


async def test_a_superuser_is_no_role_for_the_service(owner_database_url: str, postgres_server_url: str) -> None:
    with pytest.raises(RefusedError, match="is a superuser"):
        await migrate_schema(owner_database_url, service_role=make_url(postgres_server_url).username or "")


async def test_a_table_without_a_grant_says_which_command_gives_it(database_url: str, owner_database_url: str) -> None:
    owner, engine = await asyncpg.connect(owner_database_url), connect(database_url, pool_size=1)
    try:
        await owner.execute("CREATE TABLE of_a_later_release ()")
        with pytest.raises(UnavailableError, match=r"of_a_later_release; .*posthorn migrate --grant-to"):
            async with driver(engine) as connection:
                await connection.execute("SELECT FROM of_a_later_release")
    finally:
        await owner.execute("DROP TABLE IF EXISTS of_a_later_release")
        await owner.close()
        await engine.dispose()


async def test_the_roles_of_the_deployment_migrate_and_serve(tmp_path: Path) -> None:
    """``deploy/postgres/roles.sql`` as the database's container runs it, then what the migration's container does."""
    psql = find_binaries(tmp_path) / "psql"
    with EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"}) as server:
        admin = make_url(server.url)
        environment = {**os.environ, "MIGRATION_PASSWORD": "it's one", "SERVICE_PASSWORD": "it's another"}
        command: list[str | Path] = [
            psql,
            "--no-psqlrc",
            "--quiet",
            admin.render_as_string(hide_password=False),
            "--file",
            ROLES_SQL,
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: ASYNC221
        assert (done.returncode, done.stderr) == (0, "")
        migration, service = (
            admin.set(username=f"posthorn_{role}", password=environment[f"{role.upper()}_PASSWORD"])
            for role in ("migration", "service")
        )
        await migrate_schema(migration.render_as_string(hide_password=False), service_role="posthorn_service")
        engine = connect(service.render_as_string(hide_password=False), pool_size=1)
        async with driver(engine) as connection:
            await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
            assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await engine.dispose()
