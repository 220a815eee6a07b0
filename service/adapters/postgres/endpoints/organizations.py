"""Organizations, and what the command line changes of their endpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.removal import bump_directory, cancel_pending, remove_subscriptions
from service.adapters.postgres.endpoints.rows import find_or_insert_endpoint, insert_subscriptions, set_paused
from service.adapters.postgres.engine import driver
from service.core.reason import Reason
from service.ports.secrets import SecretBox


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint as its maker is told of it: ``secret`` is shown this once, and None for one that existed."""

    id: str
    url: str
    event_types: tuple[str, ...]
    secret: str | None


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint as anybody may see it."""

    id: str
    url: str
    event_types: tuple[str, ...]
    is_paused: bool
    created_at: datetime


class Administration:
    """What people and the command line change. Every change of a directory bumps its version, in one commit."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox) -> None:
        self._engine = engine
        self._secret_box = secret_box

    async def create_organization(self, organization_id: str) -> None:
        """Make an organization; one that exists stays as it is."""
        async with driver(self._engine) as connection:
            await connection.execute(
                "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
            )

    async def has_organization(self, organization_id: str) -> bool:
        """Whether it exists."""
        async with driver(self._engine) as connection:
            return bool(await connection.fetchval("SELECT true FROM organizations WHERE id = $1", organization_id))

    async def add_endpoint(
        self, organization_id: str, url: str, event_types: Sequence[str], secret: str | None = None
    ) -> NewEndpoint:
        """Subscribe a URL to event types. A URL the organization has already keeps its endpoint and its secret."""
        async with driver(self._engine) as connection, connection.transaction():
            # The row lock puts two such calls for one organization in line, so the second finds the first's endpoint.
            await bump_directory(connection, [organization_id])
            endpoint_id, shown = await find_or_insert_endpoint(
                connection, self._secret_box, organization_id, url, secret
            )
            await insert_subscriptions(connection, organization_id, endpoint_id, url, event_types)
            subscribed = await connection.fetch(
                "SELECT event_type FROM subscriptions WHERE endpoint_id = $1 AND removed_at IS NULL ORDER BY id",
                endpoint_id,
            )
        return NewEndpoint(endpoint_id, url, tuple(row["event_type"] for row in subscribed), shown)

    async def list_endpoints(self, organization_id: str) -> Sequence[ListedEndpoint]:
        """The organization's endpoints, oldest first."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                """SELECT e.id, e.url, array_agg(s.event_type ORDER BY s.id) AS event_types, e.is_paused, e.created_at
                     FROM endpoints e JOIN subscriptions s ON s.endpoint_id = e.id AND s.removed_at IS NULL
                    WHERE e.organization_id = $1 AND e.removed_at IS NULL GROUP BY e.id ORDER BY e.created_at, e.id""",
                organization_id,
            )
        return [ListedEndpoint(id_, url, tuple(types), paused, at) for id_, url, types, paused, at in rows]

    async def remove_endpoint(self, organization_id: str, endpoint_id: str) -> bool:
        """End an endpoint and its subscriptions, and cancel what waits for it. False when there is none."""
        async with driver(self._engine) as connection, connection.transaction():
            ids = await connection.fetch(
                """SELECT s.id FROM subscriptions s
                    WHERE s.organization_id = $1 AND s.endpoint_id = $2 AND s.removed_at IS NULL ORDER BY s.id""",
                organization_id,
                endpoint_id,
            )
            removed = await remove_subscriptions(connection, [row["id"] for row in ids], because="deleted")
            await cancel_pending(connection, removed, Reason.SUBSCRIPTION_DELETED)
        return bool(removed)

    async def pause_endpoint(self, organization_id: str, endpoint_id: str, paused: bool) -> bool:  # noqa: FBT001
        """Shut or open the endpoint's gate. False when there is no such endpoint."""
        async with driver(self._engine) as connection, connection.transaction():
            await bump_directory(connection, [organization_id])  # first, as everywhere: one order of locks
            return await set_paused(connection, organization_id, endpoint_id, is_paused=paused)
