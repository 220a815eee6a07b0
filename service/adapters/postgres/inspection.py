"""What ``posthorn doctor`` reads from a database: the server's version and the target URLs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver


@dataclass(frozen=True, slots=True)
class ExpiringCertificate:
    """An endpoint whose client certificate expires."""

    organization_id: str
    endpoint_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RegisteredUrl:
    """An endpoint and its target URL, without the query."""

    endpoint_id: str
    url: str


async def server_version(engine: AsyncEngine) -> tuple[str, int]:
    """The server's version as text, and its major version number."""
    async with driver(engine) as connection:
        version = await connection.fetchval("SHOW server_version")
        return version, int(await connection.fetchval("SHOW server_version_num")) // 10_000


async def expiring_certificates(
    engine: AsyncEngine, within: timedelta, limit: int
) -> tuple[int, Sequence[ExpiringCertificate]]:
    """How many endpoints have a client certificate that expires soon or has expired, and the first of them."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            """SELECT count(*) OVER (), organization_id, id, auth_expires_at FROM endpoints
                WHERE removed_at IS NULL AND auth_expires_at < now() + $1
                ORDER BY auth_expires_at, id LIMIT $2""",
            within,
            limit,
        )
    return (rows[0][0] if rows else 0), [ExpiringCertificate(*row[1:]) for row in map(tuple, rows)]


async def registered_urls(engine: AsyncEngine, limit: int) -> Sequence[RegisteredUrl]:
    """The URLs of all organizations' endpoints, at most ``limit``."""
    async with driver(engine) as connection:
        rows = await connection.fetch(
            "SELECT id, split_part(url, '?', 1) FROM endpoints WHERE removed_at IS NULL ORDER BY id LIMIT $1", limit
        )
    return [RegisteredUrl(*row) for row in rows]
