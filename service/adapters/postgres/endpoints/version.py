"""The version of an organization's directory: workers compare it, and its row lock serialises writers."""

from collections.abc import Sequence

import asyncpg


async def directory_version(connection: asyncpg.Connection, organization_id: str) -> int | None:
    """The current version; None if the organization does not exist."""
    version: int | None = await connection.fetchval(
        "SELECT directory_version FROM organizations WHERE id = $1", organization_id
    )
    return version


async def lock_directory(connection: asyncpg.Connection, organization_id: str) -> int | None:
    """Lock the organization's directory until the commit; returns its version, None if it does not exist."""
    version: int | None = await connection.fetchval(
        "SELECT directory_version FROM organizations WHERE id = $1 FOR NO KEY UPDATE", organization_id
    )
    return version


async def bump_directory(connection: asyncpg.Connection, organization_ids: Sequence[str]) -> None:
    """Raise the directory's version; every worker compares it in its next transaction and then reloads.

    Takes the same lock as ``lock_directory``.
    """
    await connection.execute(
        "UPDATE organizations SET directory_version = directory_version + 1 WHERE id = ANY ($1)", organization_ids
    )
