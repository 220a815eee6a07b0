"""``endpoints``: the API's use cases, directly on the database."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, assert_never

import typer

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.cli.database import connected, endpoint_store, require_secret_keys
from service.cli.hints import called_as, suggest, words
from service.cli.organizations import OrganizationOption, no_organization, require_organization
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    print_fields,
    print_json,
    split_names,
    tell,
)
from service.core.endpoints.refusals import InvalidWish, NoSuchOrganization, OtherSecret
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.subscription import covers
from service.core.endpoints.target_policy import Target, TargetRefused, Verdict
from service.core.endpoints.view import EndpointState, EndpointView, Registered
from service.core.events.registry import REGISTRY
from service.settings import load_settings

PAGE_SIZE: Final = 200

_COLUMNS: Final = (
    Column("state"),
    Column("event types", moves=True),
    Column("created (UTC)"),
    Column("endpoint", moves=True),
    Column("url", moves=True),
)

endpoints = typer.Typer(no_args_is_help=True, help="Add, list and remove the URLs that events are delivered to.")


def add_command(organization_id: str) -> str:
    """The command that adds an endpoint, with an example URL."""
    options = ("--url", "https://hooks.example.com/", "--event-types", "message.sent")
    return words("endpoints", "add", "--organization", organization_id, *options)


@endpoints.command("add", epilog=EXIT_CODES)
def add_endpoint(
    organization_id: OrganizationOption,
    url: Annotated[str, typer.Option(help="The URL to POST to: https://…", show_default=False)],
    event_types: Annotated[
        str,
        typer.Option(
            help=f"Comma-separated: {', '.join(REGISTRY)}, your own types, 'message.*' or '*'.", show_default=False
        ),
    ],
    secret: Annotated[str | None, typer.Option(help="whsec_<base64>; default: generated.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Subscribe a URL to event types. A URL that is already registered gets the types added and keeps its secret."""
    settings = load_settings()
    given: dict[str, Any] = {"url": url, "event_types": split_names(event_types)}
    wish = EndpointWish(given if secret is None else {**given, "secret": secret})
    require_secret_keys(settings)

    async def add() -> Registered:
        async with connected(settings) as engine:
            match await endpoint_store(engine, settings).subscribe(organization_id, wish):
                case Registered() as made:
                    return made
                case InvalidWish(problems):
                    raise CommandError(_in_options(problems, settings.egress_policy.judge_url(url)), BAD_USAGE)
                case OtherSecret() as refused:
                    raise CommandError(f"--secret: {refused.sentence}.", BAD_USAGE)
                case NoSuchOrganization():
                    raise no_organization(organization_id, await OrganizationStore(engine).list())
                case other:
                    assert_never(other)

    made = asyncio.run(add())
    shown = {
        "id": made.endpoint.id,
        "url": made.endpoint.settings.url,
        "event_types": made.endpoint.settings.event_types,
        "secret": made.secret,
    }
    if as_json:
        print_json(shown)
        return
    if made.secret is None:
        tell("This URL was already registered: it keeps its endpoint and its secret.")
    else:
        tell("Give the secret to the receiver; it is shown only once.")
    print_fields(shown)
    trigger = words("trigger", _first_of(given["event_types"][0]), "--organization", organization_id)
    if settings.amqp_url is None:
        options = ("--scopes", "publish", "--name", "trigger", "--expires-in-days", "1")
        key = words("keys", "create", "--organization", organization_id, *options)
        trigger += f' --via http --key "$({called_as()} {key} 2>/dev/null)"'
    suggest(trigger, when=", while 'posthorn serve' runs")


def _first_of(pattern: str) -> str:
    """A built-in event type that a pattern covers, to try the endpoint with."""
    return next((name for name in REGISTRY if covers(pattern, name)), next(iter(REGISTRY)))


def _in_options(problems: Mapping[str, Sequence[str]], target: Target | TargetRefused) -> str:
    """Describe a wish's problems by option, and name the setting that would allow a refused URL."""
    lines = [
        f"--{path.partition('[')[0].replace('_', '-')}: {sentence.rstrip('?.')}{'?' if sentence[-1] == '?' else '.'}"
        for path, sentences in problems.items()
        for sentence in sentences
    ]
    if isinstance(target, TargetRefused) and target.is_policy:
        lines.append(_permission(target))
    return "\n".join(lines)


def _permission(refused: TargetRefused) -> str:
    match refused.verdict:
        case None:
            return "POSTHORN_ALLOW_HTTP=true allows http:// too."
        case Verdict.DENIED_BY_OPERATOR:
            return "POSTHORN_EGRESS_DENY forbids it."
        case _:
            return "POSTHORN_EGRESS_ALLOW can allow it."


@endpoints.command("list", epilog=EXIT_CODES)
def list_endpoints(organization_id: OrganizationOption, *, as_json: JsonOption = False) -> None:
    """List the organization's endpoints, newest first, including those whose receiver answered 410."""
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
    rows = [
        (each.state, each.settings.event_types, moment(each.created_at), each.id, each.settings.url) for each in found
    ]
    print_table(_COLUMNS, rows, nothing=f"{organization_id} has no endpoints yet.")
    if found:
        suggest(words("deliveries", "list", "--organization", organization_id, "--endpoint", found[0].id))
    else:
        suggest(add_command(organization_id))


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
    endpoint_id: Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")],
    organization_id: OrganizationOption,
    *,
    as_json: JsonOption = False,
) -> None:
    """Remove an endpoint and cancel its pending deliveries. Past deliveries stay on record. Safe to repeat."""
    settings = load_settings()

    async def remove() -> bool:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            return await endpoint_store(engine, settings).remove(organization_id, endpoint_id) is None

    if not asyncio.run(remove()):
        lists = f"'posthorn endpoints list --organization {organization_id}' lists its endpoints"
        raise CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
    else:
        tell(f"Removed {endpoint_id}.")
        suggest(words("endpoints", "list", "--organization", organization_id))
