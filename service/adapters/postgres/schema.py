"""The schema: migrating it to this release, and checking that it is current."""

from importlib.resources import files
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError as AlembicError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.day_indexes import index_days
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.grants import grant_to
from service.adapters.postgres.partitions import create_partitions
from service.ports.errors import RefusedError


def _alembic(url: str) -> Config:
    config = Config()
    beside = Path(str(files("service"))) / "migrations"  # in a wheel; in a checkout they are at the root
    location = beside if beside.is_dir() else Path(__file__).resolve().parents[3] / "migrations"
    config.set_main_option("script_location", str(location))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


async def migrate_schema(url: str, *, service_role: str = "") -> None:
    """Migrate the schema to this release's head and create the first partitions. Idempotent.

    Takes long only to index the days that are there, which comes last: the service may run meanwhile.
    ``service_role`` is then granted what the service needs; without one the service is to connect as ``url`` does.
    Raises ``RefusedError`` for the schema of a newer release, and for a role that cannot be granted anything.
    """
    engine = connect(url, pool_size=1, command_timeout_seconds=600)
    config = _alembic(url)
    script = ScriptDirectory.from_config(config)
    try:
        async with engine.begin() as connection:

            def upgrade(sync_connection: object) -> None:
                config.attributes["connection"] = sync_connection
                with EnvironmentContext(
                    config,
                    script,
                    fn=lambda revision, _: script._upgrade_revs("head", revision),  # noqa: SLF001
                ):
                    script.run_env()

            try:
                await connection.run_sync(upgrade)
            except AlembicError as error:
                raise RefusedError("its schema belongs to a newer release; run that release") from error
        async with driver(engine) as connection:
            await create_partitions(connection)
            if service_role:
                await grant_to(connection, service_role)
            await index_days(connection)
    finally:
        await engine.dispose()


async def is_migrated(engine: AsyncEngine) -> bool:
    """Whether the schema is at this release's head. Raises ``UnavailableError``."""
    heads = ScriptDirectory.from_config(_alembic("")).get_heads()
    async with driver(engine) as connection:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return False
        return {row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")} == set(heads)
