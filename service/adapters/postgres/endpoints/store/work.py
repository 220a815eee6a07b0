"""What all verbs of the endpoint store share."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.rows import read_endpoint, read_own_event_types
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.engine import driver
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.view import EndpointView
from service.ports.secrets import SecretBox


class EndpointWork:
    """The database, the box that seals, and the rules."""

    def __init__(self, engine: AsyncEngine, secret_box: SecretBox, rules: EndpointRules) -> None:
        self._engine = engine
        self._secret_box = secret_box
        self._rules = rules

    async def own_event_types(self, organization_id: str) -> Sequence[str]:
        """The names of the event types that the organization registered."""
        async with driver(self._engine) as connection:
            return await read_own_event_types(connection, organization_id)

    @asynccontextmanager
    async def _changing(self, organization_id: str) -> AsyncIterator[asyncpg.Connection]:
        async with driver(self._engine) as connection, connection.transaction():
            await lock_directory(connection, organization_id)
            yield connection

    async def _read(
        self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str
    ) -> EndpointView | None:
        return await read_endpoint(connection, self._secret_box, organization_id, endpoint_id)

    async def _require(self, connection: asyncpg.Connection, organization_id: str, endpoint_id: str) -> EndpointView:
        """The endpoint, which this transaction has just read or created."""
        endpoint = await self._read(connection, organization_id, endpoint_id)
        if endpoint is None:
            raise LookupError(f"{endpoint_id} disappeared although its organization is locked")
        return endpoint
