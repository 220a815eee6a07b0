"""Organizations: created by the command line, never removed."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver


class OrganizationStore:
    """The organizations that exist."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, organization_id: str) -> None:
        """Create an organization, unless it exists."""
        async with driver(self._engine) as connection:
            await connection.execute(
                "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
            )

    async def list(self) -> Sequence[str]:
        """All ids, in order."""
        async with driver(self._engine) as connection:
            return [row["id"] for row in await connection.fetch("SELECT id FROM organizations ORDER BY id")]

    async def exists(self, organization_id: str) -> bool:
        """Whether the organization exists."""
        async with driver(self._engine) as connection:
            return bool(await connection.fetchval("SELECT true FROM organizations WHERE id = $1", organization_id))
