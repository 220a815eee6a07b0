"""Setting up: migrate, endpoints."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from service.adapters.postgres.endpoints.organizations import ListedEndpoint, NewEndpoint
from service.cli.database import administration, connected, require_secret_keys
from service.cli.organization import OrganizationOption, require_organization
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
from service.core.endpoints.target_policy import TargetRefused
from service.core.events.registry import REGISTRY
from service.settings import Settings, load_settings
from webhook_signature import VerificationError
from webhook_signature.sign import decode_secret

endpoints = typer.Typer(no_args_is_help=True, help="The URLs an organization's events are delivered to.")


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
        settable = "POSTHORN_EGRESS_ALLOW, POSTHORN_EGRESS_DENY and POSTHORN_ALLOW_HTTP decide this."
        raise CommandError(f"--url: {judged.sentence}. {settable}", BAD_USAGE)
    if secret is not None:
        try:
            decode_secret(secret)
        except VerificationError as error:
            raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None


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
