"""The event types that organizations register. They are never changed or removed, but a sample may come later."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.audit.log import audit
from service.adapters.postgres.both_ways import both_ways
from service.adapters.postgres.endpoints.caps import cap_reached
from service.adapters.postgres.endpoints.version import bump_directory, lock_directory
from service.adapters.postgres.engine import driver
from service.core.audit.actor import Actor
from service.core.endpoints.caps import NO_CAPS, Caps
from service.core.endpoints.refusals import CapReached
from service.core.events.view import PAGE_BYTES_MAX, OwnTypeName, OwnTypeView, Registration
from service.core.walk import Walk

_COLUMNS: Final = "name, description, schema, sample, created_at"
# $1 organization, $2 the name beside which the page lies, $3 its size.
_OF_PAGE: Final = """
  FROM event_types
 WHERE organization_id = $1 AND ($2::text IS NULL OR name COLLATE "C" < ($2))
 ORDER BY name COLLATE "C" DESC LIMIT $3::int"""
_LIST_NAMES: Final = both_ways(f"SELECT name, description, created_at {_OF_PAGE}")
# $4: PostgreSQL knows the length of what is large without reading it, so only what is on the page is read.
_LIST: Final = both_ways(
    f"""
SELECT name, description, CASE WHEN before_it < $4::int THEN schema ELSE '' END AS schema,
       CASE WHEN before_it < $4::int THEN sample END AS sample, created_at
  FROM (SELECT *, sum(bytes) OVER (ORDER BY name COLLATE "C" DESC ROWS UNBOUNDED PRECEDING) - bytes AS before_it
          FROM (SELECT {_COLUMNS}, octet_length(schema) + coalesce(octet_length(sample), 0) AS bytes
                {_OF_PAGE}) AS page) AS summed
 ORDER BY name COLLATE "C" DESC"""  # noqa: S608 - constants only
)


class EventTypeStore:
    """Reads and registers an organization's own event types."""

    def __init__(self, engine: AsyncEngine, caps: Caps = NO_CAPS) -> None:
        self._engine = engine
        self._caps = caps

    async def find(self, organization_id: str, name: str) -> OwnTypeView | None:
        """The organization's own event type with this name; None if it does not exist."""
        async with driver(self._engine) as connection:
            return await _find(connection, organization_id, name)

    async def list(self, organization_id: str, walk: Walk[str]) -> Sequence[OwnTypeView]:
        """The event types, by name. Once they come to ``PAGE_BYTES_MAX``, the remaining have no schema."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(
                _LIST[walk.is_descending], organization_id, walk.beside, walk.limit, PAGE_BYTES_MAX
            )
        return [OwnTypeView(*row) for row in rows]

    async def list_names(self, organization_id: str, walk: Walk[str]) -> Sequence[OwnTypeName]:
        """The same, without what can be large."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch(_LIST_NAMES[walk.is_descending], organization_id, walk.beside, walk.limit)
        return [OwnTypeName(*row) for row in rows]

    async def names(self, organization_id: str) -> frozenset[str]:
        """The names of all its own types, which can be subscribed to like the built-in ones."""
        async with driver(self._engine) as connection:
            rows = await connection.fetch("SELECT name FROM event_types WHERE organization_id = $1", organization_id)
        return frozenset(row["name"] for row in rows)

    async def register(
        self, organization_id: str, name: str, description: str, schema: str, sample: str | None, *, by: Actor
    ) -> tuple[Registration, OwnTypeView] | CapReached:
        """Register a type, unless its name is taken; returns the type of this name."""
        async with driver(self._engine) as connection:
            known = await _find(connection, organization_id, name)
            if known is not None:  # types never change: no lock, no new version
                return Registration.KNOWN, known
            async with connection.transaction():
                await lock_directory(connection, organization_id)  # which serialises registrations
                known = await _find(connection, organization_id, name)
                if known is not None:
                    return Registration.KNOWN, known
                capped = await cap_reached(connection, organization_id, self._caps, {"event types": 1})
                if capped is not None:
                    return capped
                await bump_directory(connection, [organization_id])
                row = await connection.fetchrow(
                    f"""INSERT INTO event_types (organization_id, name, description, schema, sample)
                        VALUES ($1, $2, $3, $4, $5) RETURNING {_COLUMNS}""",  # noqa: S608 - constants only
                    organization_id,
                    name,
                    description,
                    schema,
                    sample,
                )
                state = {"description": description, "schema": schema, "sample": sample}
                await audit(connection, by, "event_type.register", organization_id, name, after=state)
        return Registration.NEW, OwnTypeView(*row)

    async def add_sample(self, organization_id: str, name: str, sample: str, *, by: Actor) -> OwnTypeView | None:
        """Give the type a sample, unless it has one; returns the type of this name."""
        async with driver(self._engine) as connection, connection.transaction():
            row = await connection.fetchrow(
                f"""UPDATE event_types SET sample = $3 WHERE organization_id = $1 AND name = $2 AND sample IS NULL
                    RETURNING {_COLUMNS}""",  # noqa: S608 - constants only
                organization_id,
                name,
                sample,
            )
            if row is None:
                return await _find(connection, organization_id, name)
            await audit(connection, by, "event_type.register", organization_id, name, after={"sample": sample})
        return OwnTypeView(*row)


async def _find(connection: asyncpg.Connection, organization_id: str, name: str) -> OwnTypeView | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM event_types WHERE organization_id = $1 AND name = $2",  # noqa: S608 - constants only
        organization_id,
        name,
    )
    return OwnTypeView(*row) if row is not None else None
