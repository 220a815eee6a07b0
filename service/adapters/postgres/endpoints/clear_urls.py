"""URLs whose queries are stored in clear, from before revision 0023: counted, and sealed a row at a time.

Each row has a transaction of its own, under the lock of its organization's directory, so whoever changes an endpoint
meanwhile is waited for. What is killed has nothing half done; the next run passes what is done already.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.endpoints.urls import HAS_CLEAR_QUERY, url_to_store
from service.adapters.postgres.endpoints.version import bump_directory, lock_directory
from service.adapters.postgres.engine import driver
from service.adapters.postgres.sealed import BATCH_ROWS_MAX, RewrapStep
from service.core.audit.actor import Actor
from service.ports.errors import UrlKeyUnopenableError
from service.ports.secrets import RewrappingBox

_URL_IS_CLEAR: Final = HAS_CLEAR_QUERY.format(column="url")
_TARGET_IS_CLEAR: Final = HAS_CLEAR_QUERY.format(column="target_url")
_ENDPOINTS: Final = f"""SELECT id, organization_id FROM endpoints
                         WHERE ($1::text IS NULL OR id > $1) AND {_URL_IS_CLEAR} ORDER BY id LIMIT $2"""  # noqa: S608
# Those of endpoints follow them; these ended before their endpoint got another URL.
_SUBSCRIPTIONS: Final = f"""SELECT id, organization_id, endpoint_id FROM subscriptions
                             WHERE ($1::bigint IS NULL OR id > $1) AND removed_at IS NOT NULL AND {_TARGET_IS_CLEAR}
                             ORDER BY id LIMIT $2"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ClearUrls:
    """Organizations whose URLs stay in clear until they are sealed, and what has a URL with a query in clear."""

    organization_count: int
    endpoint_count: int
    ended_subscription_count: int

    @property
    def url_count(self) -> int:
        """How many there are to seal."""
        return self.endpoint_count + self.ended_subscription_count


class UrlTwinError(Exception):
    """Another endpoint of the organization has the URL, sealed."""


async def count_clear_urls(engine: AsyncEngine) -> ClearUrls:
    """Count them. Reads all endpoints and ended subscriptions."""
    async with driver(engine) as connection:
        return ClearUrls(
            await connection.fetchval("SELECT count(*) FROM organizations WHERE NOT seals_urls"),
            await connection.fetchval(f"SELECT count(*) FROM endpoints WHERE {_URL_IS_CLEAR}"),  # noqa: S608
            await connection.fetchval(
                f"SELECT count(*) FROM subscriptions WHERE removed_at IS NOT NULL AND {_TARGET_IS_CLEAR}"  # noqa: S608
            ),
        )


async def seal_clear_urls(
    engine: AsyncEngine, box: RewrappingBox, *, by: Actor, batch_rows_max: int = BATCH_ROWS_MAX
) -> AsyncIterator[RewrapStep]:
    """Seal them all, batch by batch; from then on every organization's URLs are sealed.

    A URL that another endpoint of its organization has, sealed, stays as it is, and so do those of an organization
    whose key cannot be decrypted; ``left`` says so. The first one that is sealed enters the run in the audit log.
    """
    await _begin(engine, batch_rows_max)
    is_entered = False
    for statement, seal in ((_ENDPOINTS, _seal_endpoint), (_SUBSCRIPTIONS, _seal_subscription)):
        after = None
        while True:
            async with driver(engine) as connection:
                rows = await connection.fetch(statement, after, batch_rows_max)
                sealed_count, left = 0, []
                for row in rows:
                    try:
                        async with connection.transaction():
                            await lock_directory(connection, row["organization_id"])
                            is_sealed = await seal(connection, box, row)
                            if is_sealed and not is_entered:
                                await audit(connection, by, "secrets.rewrap", None, box.sealing_key_id)
                                is_entered = True
                    except (UrlKeyUnopenableError, UrlTwinError) as error:
                        left.append(str(error))
                        continue
                    sealed_count += is_sealed
            if rows:
                yield RewrapStep(len(rows), sealed_count, left)
            if len(rows) < batch_rows_max:
                break
            after = rows[-1]["id"]


async def _begin(engine: AsyncEngine, batch_rows_max: int) -> None:
    """From here on new URLs are sealed. One row at a time: recording events locks these rows, too, in an order."""
    while True:
        async with driver(engine) as connection:
            rows = await connection.fetch("SELECT id FROM organizations WHERE NOT seals_urls LIMIT $1", batch_rows_max)
            for row in rows:
                await connection.execute("UPDATE organizations SET seals_urls = true WHERE id = $1", row["id"])
        if len(rows) < batch_rows_max:
            return


async def _seal_endpoint(connection: asyncpg.Connection, box: RewrappingBox, row: asyncpg.Record) -> bool:
    endpoint_id, organization_id = row["id"], row["organization_id"]
    found = await connection.fetchrow(
        f"SELECT url, removed_at IS NULL AS is_active FROM endpoints WHERE id = $1 AND {_URL_IS_CLEAR}",  # noqa: S608
        endpoint_id,
    )
    if found is None:  # it has been changed meanwhile
        return False
    stored, sealed = await url_to_store(connection, box, organization_id, endpoint_id, found["url"])
    twin_id = await connection.fetchval(
        "SELECT id FROM endpoints WHERE organization_id = $1 AND url = $2 AND removed_at IS NULL",
        organization_id,
        stored,
    )
    if twin_id and found["is_active"]:  # a process of an earlier release made it, which could not find the other one
        raise UrlTwinError(f"{endpoint_id} has the URL of {twin_id}")
    await connection.execute(
        """UPDATE endpoints SET url = $2, sealed_url = $3, verified_url_digest =
                  CASE WHEN verified_url_digest = sha256(convert_to(url, 'UTF8'))
                       THEN sha256(convert_to($2, 'UTF8')) END
            WHERE id = $1""",
        endpoint_id,
        stored,
        sealed,
    )
    await connection.execute(
        "UPDATE subscriptions SET target_url = $3 WHERE endpoint_id = $1 AND target_url = $2",
        endpoint_id,
        found["url"],
        stored,
    )
    await bump_directory(connection, [organization_id])
    return True


async def _seal_subscription(connection: asyncpg.Connection, box: RewrappingBox, row: asyncpg.Record) -> bool:
    url = await connection.fetchval(
        f"SELECT target_url FROM subscriptions WHERE id = $1 AND {_TARGET_IS_CLEAR}",  # noqa: S608
        row["id"],
    )
    if url is None:  # another run has sealed it meanwhile
        return False
    stored, _ = await url_to_store(connection, box, row["organization_id"], row["endpoint_id"], url)
    await connection.execute("UPDATE subscriptions SET target_url = $2 WHERE id = $1", row["id"], stored)
    return True
