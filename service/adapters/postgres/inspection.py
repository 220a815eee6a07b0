"""What ``posthorn doctor`` reads from a database: the server's version, its sealed secrets, and the target URLs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver


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
    """One sample for each key that sealed a valid secret."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """SELECT DISTINCT ON (key_id) key_id, count(*) OVER (PARTITION BY key_id) AS sealed_count,
                      s.id, s.organization_id, s.endpoint_id, s.sealed
                 FROM (SELECT *, split_part(sealed, ':', 2) AS key_id FROM endpoint_secrets) AS s
                 JOIN endpoints e ON e.id = s.endpoint_id AND e.removed_at IS NULL
                WHERE coalesce(s.expires_at > now(), true) ORDER BY key_id, s.created_at DESC"""
        )
    return [SealedSample(*row) for row in rows]


async def registered_urls(engine: AsyncEngine, limit: int) -> Sequence[RegisteredUrl]:
    """The URLs of all organizations' endpoints, at most ``limit``."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            "SELECT id, url FROM endpoints WHERE removed_at IS NULL ORDER BY id LIMIT $1", limit
        )
    return [RegisteredUrl(*row) for row in rows]
