"""The version of an organization's directory: what workers compare, and what puts writers in line."""

from collections.abc import Sequence

import asyncpg


async def directory_version(connection: asyncpg.Connection, organization_id: str) -> int | None:
    """The version now; None where there is no such organization."""
    version: int | None = await connection.fetchval(
        "SELECT directory_version FROM organizations WHERE id = $1", organization_id
    )
    return version


async def lock_directory(connection: asyncpg.Connection, organization_id: str) -> int | None:
    """Wait until nobody else changes the organization's directory, and keep others out until the commit."""
    version: int | None = await connection.fetchval(
        "SELECT directory_version FROM organizations WHERE id = $1 FOR NO KEY UPDATE", organization_id
    )
    return version


async def bump_directory(connection: asyncpg.Connection, organization_ids: Sequence[str]) -> None:
    """Tell every worker, through the version its next transaction compares, that the directory has changed.

    Takes the same lock as ``lock_directory``.
    """
    await connection.execute(
        "UPDATE organizations SET directory_version = directory_version + 1 WHERE id = ANY ($1)", organization_ids
    )
