"""Organizations: created by the command line, never removed."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor


class OrganizationStore:
    """The organizations that exist."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, organization_id: str, *, by: Actor) -> None:
        """Create an organization, unless it exists."""
        async with driver(self._engine) as connection, connection.transaction():
            is_new = await connection.fetchval(
                "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", organization_id
            )
            if is_new:
                await audit(connection, by, "organization.create", organization_id, organization_id)

    async def list(self) -> Sequence[str]:
        """All ids, in order."""
        async with driver(self._engine) as connection:
            return [row["id"] for row in await connection.fetch("SELECT id FROM organizations ORDER BY id")]

    async def exists(self, organization_id: str) -> bool:
        """Whether the organization exists."""
        async with driver(self._engine) as connection:
            return bool(await connection.fetchval("SELECT true FROM organizations WHERE id = $1", organization_id))
