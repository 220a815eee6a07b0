"""The organization that a command is about."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.events.event import Rejected, parse_event
from service.core.events.sample import sample_event

OrganizationOption = Annotated[str, typer.Option("--organization", help="The organization's id.", show_default=False)]


def check_organization_id(organization_id: str) -> None:
    """Raise ``CommandError`` for an id that no event could carry: the events' own rule, asked rather than repeated."""
    now = datetime.now(UTC)
    sample = sample_event("message.sent", organization_id, event_id="evt_0", number=0, now=now)
    judged = parse_event(sample, now)
    if isinstance(judged, Rejected):
        raise CommandError(f"{organization_id!r} cannot be an organization's id: {judged.detail}", BAD_USAGE)


async def require_organization(engine: AsyncEngine, organization_id: str) -> None:
    """Raise ``CommandError`` for an organization that is not there."""
    if not await OrganizationStore(engine).exists(organization_id):
        raise no_organization(organization_id)


def no_organization(organization_id: str) -> CommandError:
    """What to say about an organization that is not there."""
    makes = f"'posthorn keys create --organization {organization_id}' makes it"
    return CommandError(f"There is no organization {organization_id!r}: {makes}.")
