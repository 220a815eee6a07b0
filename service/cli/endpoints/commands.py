"""``endpoints``: add, list, show, resume, recover and remove the URLs that events go to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.calls.running import call, print_answer, print_page
from service.cli.endpoints import actions
from service.cli.endpoints.arguments import (
    AuthFileOption,
    EndpointArgument,
    EventTypesOption,
    NewStyleOption,
    OrderByOption,
    OrderWaitOption,
    StyleOption,
    ValidUntilOption,
)
from service.cli.hints import add_endpoint_command, suggest, words
from service.cli.options import (
    LIMIT_MAX,
    AnyOrganizationOption,
    CursorOption,
    LimitOption,
    of,
    read_json,
    written_time,
)
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, print_json, split_names, tell
from service.core.endpoints.view import EndpointState

_COLUMNS: Final = {
    "state": "state",
    "event types*": "event_types",
    "created (UTC)": "created_at",
    "endpoint*": "id",
    "url*": "url",
}

_URL_COLUMNS: Final = {"endpoint*": "id", "url*": "url"}

StatesOption = Annotated[
    list[EndpointState] | None,
    typer.Option(metavar="STATE", help=f"Only endpoints in this state: {', '.join(EndpointState)}. Repeatable."),
]

FailingOption = Annotated[
    bool | None,
    typer.Option("--failing/--not-failing", help="Only endpoints whose newest attempt failed; or only the others."),
]

group = typer.Typer(no_args_is_help=True)
group.add_typer(actions.group)


@group.command("add")
@reaches_api
def add_endpoint(
    url: Annotated[str, typer.Option(help="The URL to POST to: https://…", show_default=False)],
    event_types: EventTypesOption,
    organization_id: AnyOrganizationOption = None,
    secret: Annotated[str | None, typer.Option(help="whsec_<base64>; default: generated.")] = None,
    signature_style: StyleOption = None,
    rate_limit_per_second: Annotated[float | None, typer.Option(help="At most so many requests a second.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="At most so many requests at once.")] = None,
    *,
    auth_file: AuthFileOption = None,
    order_by: OrderByOption = None,
    order_wait_seconds: OrderWaitOption = None,
    valid_until: ValidUntilOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Subscribe a URL to event types. A URL that is already registered gets the types added and keeps its secret."""
    body: dict[str, Any] = {"url": url, "event_types": split_names(event_types), "secret": secret}
    body |= {"signature_style": signature_style, "rate_limit_per_second": rate_limit_per_second}
    body |= {"max_in_flight": max_in_flight, "order_by": order_by, "order_wait_seconds": order_wait_seconds}
    body |= {"valid_until": written_time(valid_until, "--valid-until")}
    body |= {"auth": auth_file and read_json(auth_file, "--auth-file")}
    from service.cli.endpoints import adding

    answer = adding.add(api, organization_id, body)
    if not as_json:
        tell(_of_secret(answer))
    print_answer(answer, as_json=as_json)
    if not as_json:
        suggest(words("endpoints", "test", answer["id"], *of(organization_id)), when=", while the service runs")


def _of_secret(endpoint: Mapping[str, Any]) -> str:
    if endpoint.get("public_key") is not None:
        return "Give the public key to the receiver; the private one stays here."
    if endpoint.get("secret") is not None:
        return "Give the secret to the receiver; it is shown only once."
    return "This URL was already registered: it keeps its endpoint, its secret and its settings."


@group.command("list")
@reaches_api
def list_endpoints(
    organization_id: AnyOrganizationOption = None,
    state: StatesOption = None,
    url: Annotated[str | None, typer.Option(help="Only the endpoint with exactly this URL.")] = None,
    *,
    failing: FailingOption = None,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List the organization's endpoints, newest first. Those whose receiver answered 410: with --state gone."""
    query = {"state": state, "url": url, "failing": failing, "limit": LIMIT_MAX, "cursor": cursor}
    page = call(api, organization_id, "list_endpoints", query=query)
    if as_json:
        print_json(page)
        return
    rows = [{**each, "state": _standing(each)} for each in page["data"]]
    print_page({**page, "data": rows}, _COLUMNS, nothing="There are no such endpoints.", as_json=False)
    if rows:
        suggest(words("deliveries", "list", *of(organization_id), "--endpoint", rows[0]["id"]))
    else:
        suggest(add_endpoint_command(organization_id))


def _standing(endpoint: Mapping[str, Any]) -> str:
    """The state, and the gates that it does not name."""
    others = [each["kind"] for each in endpoint["gates"] if each["kind"] != endpoint["state"]]
    return f"{endpoint['state']} ({', '.join(others)})" if others else endpoint["state"]


@group.command("urls")
@reaches_api
def list_endpoint_urls(
    organization_id: AnyOrganizationOption = None,
    state: StatesOption = None,
    *,
    failing: FailingOption = None,
    limit: LimitOption = LIMIT_MAX,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List the ids and URLs of the endpoints, newest first, and nothing else of them."""
    query = {"state": state, "failing": failing, "limit": limit, "cursor": cursor}
    page = call(api, organization_id, "list_endpoint_urls", query=query)
    print_page(page, _URL_COLUMNS, nothing="There are no such endpoints.", as_json=as_json)


@group.command("show")
@reaches_api
def show_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show an endpoint, and why its deliveries wait if they do."""
    print_answer(call(api, organization_id, "get_endpoint", path={"id": endpoint_id}), as_json=as_json)
    if not as_json:
        suggest(words("deliveries", "list", *of(organization_id), "--endpoint", endpoint_id))


@group.command("put")
@reaches_api
def put_endpoint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Its url, event_types and settings, as JSON; - is stdin.")
    ],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Bring the endpoint with this URL to exactly these settings; make it if there is none. Safe to repeat."""
    body = read_json(file, "FILE")
    if not isinstance(body, dict) or not isinstance(body.get("url"), str):
        raise CommandError("FILE: must be a JSON object with a url.", BAD_USAGE)
    print_answer(call(api, organization_id, "put_endpoint", query={"url": body["url"]}, body=body), as_json=as_json)


@group.command("update")
@reaches_api
def update_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    url: Annotated[str | None, typer.Option(help="Another URL.")] = None,
    event_types: Annotated[str | None, typer.Option(help="Comma-separated: these instead of the present ones.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    rate_limit_per_second: Annotated[float | None, typer.Option(help="At most so many requests a second.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="At most so many requests at once.")] = None,
    *,
    signature_style: NewStyleOption = None,
    auth_file: AuthFileOption = None,
    order_by: OrderByOption = None,
    order_wait_seconds: OrderWaitOption = None,
    valid_until: ValidUntilOption = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--file", help="Further settings, as PATCH /v1/endpoints takes them; null resets one."),
    ] = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Change settings of an endpoint; all others stay. It holds from the next event on."""
    given: dict[str, Any] = {
        "url": url,
        "event_types": event_types and split_names(event_types),
        "description": description,
    }
    given |= {"rate_limit_per_second": rate_limit_per_second, "max_in_flight": max_in_flight}
    given |= {"signature_style": signature_style, "order_by": order_by, "order_wait_seconds": order_wait_seconds}
    given |= {"valid_until": written_time(valid_until, "--valid-until")}
    given |= {"auth": auth_file and read_json(auth_file, "--auth-file")}
    body = read_json(settings_file, "--file") if settings_file is not None else {}
    if not isinstance(body, dict):
        raise CommandError("--file: must be a JSON object of settings.", BAD_USAGE)
    body |= {name: value for name, value in given.items() if value is not None}
    if not body:
        raise CommandError("Name what to change: --url, --event-types, --file …", BAD_USAGE)
    answer = call(api, organization_id, "update_endpoint", path={"id": endpoint_id}, body=body)
    print_answer(answer, as_json=as_json)
    if not as_json and answer.get("secret"):
        tell("Give the secret to the receiver; it is shown only once.")


@group.command("remove")
@reaches_api
def remove_endpoint(
    endpoint_id: EndpointArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Remove an endpoint and cancel its pending deliveries. Past deliveries stay on record. Safe to repeat."""
    call(api, organization_id, "delete_endpoint", path={"id": endpoint_id})
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
        return
    tell(f"Removed {endpoint_id}.")
    suggest(words("endpoints", "list", *of(organization_id)))
