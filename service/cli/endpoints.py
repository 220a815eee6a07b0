"""``endpoints``: the same use cases as the API's, beside the database."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, assert_never

import typer

from service.cli.database import connected, endpoint_store, require_secret_keys
from service.cli.organization import OrganizationOption, no_organization, require_organization
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
from service.core.endpoints.refusals import InvalidWish, NoSuchOrganization, OtherSecret
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.view import EndpointState, EndpointView, Registered
from service.core.events.registry import REGISTRY
from service.settings import load_settings

PAGE_SIZE: Final = 200

endpoints = typer.Typer(no_args_is_help=True, help="The URLs an organization's events are delivered to.")


@endpoints.command("add", epilog=EXIT_CODES)
def add_endpoint(
    organization_id: OrganizationOption,
    url: Annotated[str, typer.Option(help="Where to POST: https://…", show_default=False)],
    event_types: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated: {', '.join(REGISTRY)}, one of your own, 'message.*' or '*'.", show_default=False
        ),
    ],
    secret: Annotated[str | None, typer.Option(help="whsec_<base64>; one is made otherwise.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Subscribe a URL to event types. A URL the organization has already gets the types added and keeps its secret."""
    settings = load_settings()
    given: dict[str, Any] = {"url": url, "event_types": split_names(event_types)}
    wish = EndpointWish(given if secret is None else {**given, "secret": secret})
    require_secret_keys(settings)

    async def add() -> Registered | InvalidWish | NoSuchOrganization | OtherSecret:
        async with connected(settings) as engine:
            return await endpoint_store(engine, settings).subscribe(organization_id, wish)

    made = asyncio.run(add())
    match made:
        case InvalidWish(problems):
            raise CommandError(_in_options(problems), BAD_USAGE)
        case OtherSecret():
            raise CommandError(f"--secret: {made.sentence}.", BAD_USAGE)
        case NoSuchOrganization():
            raise no_organization(organization_id)
        case Registered():
            pass
        case _:
            assert_never(made)
    endpoint = made.endpoint
    shown = {
        "id": endpoint.id,
        "url": endpoint.settings.url,
        "event_types": endpoint.settings.event_types,
        "secret": made.secret,
    }
    if as_json:
        print_json(shown)
        return
    if made.secret is None:
        tell("This URL was registered already: it keeps its endpoint and its secret.")
    else:
        tell("Give the secret to the receiver: it is shown this once.")
    print_fields(shown)


def _in_options(problems: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with a wish, by the option that says it."""
    return "\n".join(
        f"--{path.partition('[')[0].replace('_', '-')}: {sentence}."
        for path, sentences in problems.items()
        for sentence in sentences
    )


@endpoints.command("list", epilog=EXIT_CODES)
def list_endpoints(organization_id: OrganizationOption, *, as_json: JsonOption = False) -> None:
    """The organization's endpoints, newest first; also those that ended because their receiver answered 410."""
    settings = load_settings()

    async def find() -> list[EndpointView]:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            store = endpoint_store(engine, settings)
            found = list(await store.list(organization_id, limit=PAGE_SIZE))
            page_size = len(found)
            while page_size == PAGE_SIZE:
                after = (found[-1].created_at, found[-1].id)
                page = await store.list(organization_id, limit=PAGE_SIZE, after=after)
                page_size = len(page)
                found += page
            return found

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [_shown(each) for each in found]})
        return
    columns = ("id", "url", "event types", "state", "created at")
    rows = [(each.id, each.settings.url, each.settings.event_types, each.state, each.created_at) for each in found]
    print_table(columns, rows, nothing="No endpoints yet.")


def _shown(endpoint: EndpointView) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.settings.url,
        "event_types": endpoint.settings.event_types,
        "state": endpoint.state,
        "is_paused": endpoint.state is EndpointState.PAUSED,
        "created_at": endpoint.created_at,
    }


@endpoints.command("remove", epilog=EXIT_CODES)
def remove_endpoint(
    endpoint_id: Annotated[str, typer.Argument(metavar="ID")],
    organization_id: OrganizationOption,
    *,
    as_json: JsonOption = False,
) -> None:
    """End an endpoint: what waits for it is cancelled, what was delivered stays on record. Again changes nothing."""
    settings = load_settings()

    async def remove() -> bool:
        async with connected(settings) as engine:
            return await endpoint_store(engine, settings).remove(organization_id, endpoint_id) is None

    if not asyncio.run(remove()):
        lists = f"'posthorn endpoints list --organization {organization_id}' shows those there are"
        raise CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
    else:
        tell(f"Removed {endpoint_id}.")
