"""What ``posthorn doctor`` reads from a database: the server's version, its sealed secrets, and the target URLs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver
from service.core.endpoints.endpoint import SEALED_HEADERS_ID


@dataclass(frozen=True, slots=True)
class SealedSample:
    """The newest valid secret sealed with one key, and the number of valid secrets sealed with it."""

    key_id: str
    sealed_count: int
    secret_id: str
    organization_id: str
    endpoint_id: str
    sealed: str


@dataclass(frozen=True, slots=True)
class RegisteredUrl:
    """An endpoint and its target URL."""

    endpoint_id: str
    url: str


async def server_version(engine: AsyncEngine) -> tuple[str, int]:
    """The server's version as text, and its major version number."""
    async with driver(engine) as connection:
        version = await connection.fetchval("SHOW server_version")
        return version, int(await connection.fetchval("SHOW server_version_num")) // 10_000


async def sealed_samples(engine: AsyncEngine) -> Sequence[SealedSample]:
    """One for each key of SECRET_KEYS that sealed a valid signing secret, or the custom headers of an endpoint."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """WITH sealed AS (
                   SELECT s.sealed, s.id, s.organization_id, s.endpoint_id, s.created_at
                     FROM endpoint_secrets s JOIN endpoints e ON e.id = s.endpoint_id AND e.removed_at IS NULL
                    WHERE coalesce(s.expires_at > now(), true)
                    UNION ALL
                   SELECT sealed_headers, $1, organization_id, id, updated_at
                     FROM endpoints WHERE removed_at IS NULL AND sealed_headers IS NOT NULL)
               SELECT DISTINCT ON (key_id) key_id, count(*) OVER (PARTITION BY key_id) AS sealed_count,
                      id, organization_id, endpoint_id, sealed
                 FROM (SELECT *, split_part(sealed, ':', 2) AS key_id FROM sealed) AS by_key
                ORDER BY key_id, created_at DESC""",
            SEALED_HEADERS_ID,
        )
    return [SealedSample(*row) for row in rows]


async def registered_urls(engine: AsyncEngine, limit: int) -> Sequence[RegisteredUrl]:
    """The URLs of all organizations' endpoints, at most ``limit``."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            "SELECT id, url FROM endpoints WHERE removed_at IS NULL ORDER BY id LIMIT $1", limit
        )
    return [RegisteredUrl(*row) for row in rows]
