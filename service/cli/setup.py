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
from service.cli.hints import called_as, suggest, words
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    did_you_mean,
    print_fields,
    print_json,
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


_COLUMNS = (
    Column("state"),
    Column("event types", moves=True),
    Column("created (UTC)"),
    Column("endpoint", moves=True),
    Column("url", moves=True),
)


def add_command(organization_id: str) -> str:
    """The command that adds an endpoint, with an example's URL."""
    options = ("--url", "https://hooks.example.com/", "--event-types", "message.sent")
    return words("endpoints", "add", "--organization", organization_id, *options)


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
    suggest("keys create --organization org_a")


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
    trigger = words("trigger", wanted[0], "--organization", organization_id)
    if settings.amqp_url is None:
        options = ("--scopes", "publish", "--name", "trigger", "--expires-in-days", "1")
        key = words("keys", "create", "--organization", organization_id, *options)
        trigger += f' --via http --key "$({called_as()} {key} 2>/dev/null)"'
    suggest(trigger, when=", while 'posthorn serve' runs")


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
        nearest = did_you_mean(organization_id, await admin.list_organizations())
        raise CommandError(
            f"There is no organization {organization_id!r}{nearest or '.'} 'posthorn organizations list' lists them, "
            f"'posthorn keys create --organization {organization_id}' makes it."
        )


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
    rows = [
        ("paused" if each.is_paused else "active", each.event_types, moment(each.created_at), each.id, each.url)
        for each in found
    ]
    print_table(_COLUMNS, rows, nothing=f"{organization_id} has no endpoints yet.")
    if found:
        suggest(words("deliveries", "list", "--organization", organization_id, "--endpoint", found[0].id))
    else:
        suggest(add_command(organization_id))


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
            admin = administration(engine, settings)
            await require_organization(admin, organization_id)
            return await admin.remove_endpoint(organization_id, endpoint_id)

    if not asyncio.run(remove()):
        lists = f"'posthorn endpoints list --organization {organization_id}' shows those there are"
        raise CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
    else:
        tell(f"Removed {endpoint_id}.")
        suggest(words("endpoints", "list", "--organization", organization_id))
