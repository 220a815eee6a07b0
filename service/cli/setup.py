"""Setting up: migrate, endpoints."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from service.adapters.postgres import Administration, ListedEndpoint, NewEndpoint
from service.adapters.postgres import migrate as migrate_database
from service.adapters.postgres.engine import translated
from service.cli.database import administration, connected, database_url_of, explained, require_secret_keys
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    print_fields,
    print_json,
    print_table,
    split_names,
    tell,
)
from service.core.event import Rejected, parse_event
from service.core.event_type import REGISTRY
from service.core.sample import sample_event
from service.core.target_policy import TargetRefused, Verdict
from service.settings import Settings, load_settings
from webhook_signature import VerificationError
from webhook_signature.sign import decode_secret

OrganizationOption = Annotated[str, typer.Option("--organization", help="The organization's id.", show_default=False)]

endpoints = typer.Typer(no_args_is_help=True, help="The URLs an organization's events are delivered to.")


def check_organization_id(organization_id: str) -> None:
    """Raise ``CommandError`` for an id that no event could carry: the events' own rule, asked rather than repeated."""
    now = datetime.now(UTC)
    sample = sample_event("message.sent", organization_id, event_id="evt_0", number=0, now=now)
    judged = parse_event(sample, now)
    if isinstance(judged, Rejected):
        raise CommandError(f"{organization_id!r} cannot be an organization's id: {judged.detail}", BAD_USAGE)


def migrate() -> None:
    """Bring the database's schema to this release; a second time changes nothing."""
    settings = load_settings()
    url = database_url_of(settings)
    with explained(settings), translated():
        asyncio.run(migrate_database(url))
    tell("The database is at this release's schema.")


@endpoints.command("add", epilog=EXIT_CODES)
def add_endpoint(
    organization_id: OrganizationOption,
    url: Annotated[str, typer.Option(help="Where to POST: https://…", show_default=False)],
    event_types: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(REGISTRY)}.", show_default=False)],
    secret: Annotated[str | None, typer.Option(help="whsec_<base64>; one is made otherwise.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Subscribe a URL to event types. A URL the organization has already gets the types added and keeps its secret."""
    settings = load_settings()
    wanted = split_names(event_types, REGISTRY, "event type")
    _check_target(settings, url, secret)
    require_secret_keys(settings)

    async def add() -> NewEndpoint:
        async with connected(settings) as engine:
            admin = administration(engine, settings)
            await require_organization(admin, organization_id)
            return await admin.add_endpoint(organization_id, url, wanted, secret)

    added = asyncio.run(add())
    if as_json:
        print_json(asdict(added))
        return
    if added.secret is None:
        tell("This URL was registered already: it keeps its endpoint and its secret.")
    else:
        tell("Give the secret to the receiver: it is shown this once.")
    print_fields(asdict(added))


def _check_target(settings: Settings, url: str, secret: str | None) -> None:
    judged = settings.egress_policy.judge_url(url)
    if isinstance(judged, TargetRefused):
        raise CommandError(f"--url: {judged.sentence}.{_permission(judged)}", BAD_USAGE)
    if secret is not None:
        try:
            decode_secret(secret)
        except VerificationError as error:
            raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None


def _permission(refused: TargetRefused) -> str:
    """Which setting would allow the URL, where one would."""
    if not refused.is_policy:
        return ""
    match refused.verdict:
        case None:
            return " POSTHORN_ALLOW_HTTP=true allows http:// as well."
        case Verdict.DENIED_BY_OPERATOR:
            return " POSTHORN_EGRESS_DENY forbids it."
        case _:
            return " POSTHORN_EGRESS_ALLOW can allow it."


async def require_organization(admin: Administration, organization_id: str) -> None:
    """Raise ``CommandError`` for an organization that is not there."""
    if not await admin.has_organization(organization_id):
        makes = f"'posthorn keys create --organization {organization_id}' makes it"
        raise CommandError(f"There is no organization {organization_id!r}: {makes}.")


@endpoints.command("list", epilog=EXIT_CODES)
def list_endpoints(organization_id: OrganizationOption, *, as_json: JsonOption = False) -> None:
    """The organization's endpoints, oldest first."""
    settings = load_settings()

    async def find() -> list[ListedEndpoint]:
        async with connected(settings) as engine:
            admin = administration(engine, settings)
            await require_organization(admin, organization_id)
            return list(await admin.list_endpoints(organization_id))

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [asdict(each) for each in found]})
        return
    rows = [(each.id, each.url, each.event_types, "yes" if each.is_paused else "no", each.created_at) for each in found]
    print_table(("id", "url", "event types", "paused", "created at"), rows, nothing="No endpoints yet.")


@endpoints.command("remove", epilog=EXIT_CODES)
def remove_endpoint(
    endpoint_id: Annotated[str, typer.Argument(metavar="ID")],
    organization_id: OrganizationOption,
    *,
    as_json: JsonOption = False,
) -> None:
    """End an endpoint: what waits for it is cancelled, what was delivered stays on record."""
    settings = load_settings()

    async def remove() -> bool:
        async with connected(settings) as engine:
            return await administration(engine, settings).remove_endpoint(organization_id, endpoint_id)

    if not asyncio.run(remove()):
        lists = f"'posthorn endpoints list --organization {organization_id}' shows those there are"
        raise CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
    else:
        tell(f"Removed {endpoint_id}.")
