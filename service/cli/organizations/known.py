"""Organizations in the database: all, and the one that a command names."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.oversight import OversightReader
from service.cli.database import connected
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.events.event import Rejected, parse_event
from service.core.events.sample import sample_event
from service.core.oversight import OrganizationRow, OrganizationsWanted
from service.core.suggestion import did_you_mean
from service.settings import Settings


async def organizations(settings: Settings, wanted: OrganizationsWanted) -> Sequence[OrganizationRow]:
    """Organizations by id, with their endpoints counted."""
    async with connected(settings) as engine:
        return await OversightReader(engine).organizations(wanted)


def check_organization_id(organization_id: str) -> None:
    """Raise ``CommandError`` for an id that an event cannot carry, by the events' own rule."""
    now = datetime.now(UTC)
    sample = sample_event("message.sent", organization_id, event_id="evt_0", number=0, now=now)
    judged = parse_event(sample, now)
    if isinstance(judged, Rejected):
        raise CommandError(f"{organization_id!r} is not a valid organization id: {judged.detail}", BAD_USAGE)


async def require_organization(engine: AsyncEngine, organization_id: str) -> None:
    """Raise ``CommandError`` if the organization does not exist."""
    store = OrganizationStore(engine)
    if not await store.exists(organization_id):
        raise no_organization(organization_id, await store.list())


def no_organization(organization_id: str, known: Sequence[str]) -> CommandError:
    """The error for an organization that does not exist. ``known`` are those that do."""
    nearest = did_you_mean(organization_id, known)
    return CommandError(
        f"There is no organization {organization_id!r}{nearest or '.'} 'posthorn organizations list' lists them, "
        f"'posthorn keys create --organization {organization_id}' creates it."
    )
