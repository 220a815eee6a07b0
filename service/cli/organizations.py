"""``organizations``: list them, and check the one that a command names."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.cli.database import connected
from service.cli.hints import suggest, words
from service.cli.terminal import BAD_USAGE, EXIT_CODES, CommandError, JsonOption, print_json, print_line, tell
from service.core.events.event import Rejected, parse_event
from service.core.events.sample import sample_event
from service.core.suggestion import did_you_mean
from service.settings import load_settings

OrganizationOption = Annotated[str, typer.Option("--organization", help="The organization's id.", show_default=False)]

organizations = typer.Typer(no_args_is_help=True, help="List organizations.")


@organizations.command("list", epilog=EXIT_CODES)
def list_organizations(*, as_json: JsonOption = False) -> None:
    """List the ids of all organizations, one per line. 'keys create' creates one."""
    settings = load_settings()

    async def find() -> Sequence[str]:
        async with connected(settings) as engine:
            return await OrganizationStore(engine).list()

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [{"id": each} for each in found]})
        return
    for each in found:
        print_line(each)
    if found:
        suggest(words("endpoints", "list", "--organization", found[0]))
    else:
        tell("There are no organizations yet.")
        suggest("keys create --organization org_a")


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
