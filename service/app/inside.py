"""The operations of the API without its server: for a command beside the database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.api.inside import Inside
from service.app.assembly import assembled, parts_of
from service.app.http import streams_of, v1_operations
from service.app.role import Role
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class BesideDatabase:
    """The operations, and the database that they work on."""

    engine: AsyncEngine
    inside: Inside


@asynccontextmanager
async def operations_inside(settings: Settings, *, name: str) -> AsyncIterator[BesideDatabase]:
    """Assemble what the operations need; close what was opened on exit. ``name`` is the holder's in leases."""
    async with assembled(settings, Role.API, name=name) as service, AsyncExitStack() as stack:
        parts = await parts_of(settings, service, stack)
        yield BesideDatabase(service.engine, Inside(v1_operations(parts, streams_of(parts))))
