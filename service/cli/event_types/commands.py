"""``event-types``: list and show them, and register one's own."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.calls.running import call, print_answer, print_page
from service.cli.hints import suggest, words
from service.cli.options import AnyOrganizationOption, CursorOption, LimitOption, of, read_json
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption

_COLUMNS: Final = {"name": "name", "built in": "is_builtin", "description*": "description"}

group = typer.Typer(no_args_is_help=True)


@group.command("list")
@reaches_api
def list_event_types(
    organization_id: AnyOrganizationOption = None,
    *,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List the event types: the built-in ones and the organization's own."""
    _print_list(api, organization_id, "list_event_types", limit, cursor, as_json=as_json)


@group.command("names")
@reaches_api
def list_event_type_names(
    organization_id: AnyOrganizationOption = None,
    *,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List the event types without their schemas and samples, which JSON may have megabytes of."""
    _print_list(api, organization_id, "list_event_type_names", limit, cursor, as_json=as_json)


def _print_list(
    api: ApiOptions, organization_id: str | None, name: str, limit: int, cursor: str | None, *, as_json: bool
) -> None:
    page = call(api, organization_id, name, query={"limit": limit, "cursor": cursor})
    print_page(page, _COLUMNS, nothing="There are no event types.", as_json=as_json)


@group.command("show")
@reaches_api
def show_event_type(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as message.sent.")],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show an event type with its JSON Schema and a sample."""
    answer = call(api, organization_id, "get_event_type", path={"name": name})
    print_answer(answer, as_json=as_json, below=("schema", "sample"))


@group.command("add")
@reaches_api
def add_event_type(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as order.paid.")],
    schema: Annotated[
        Path, typer.Option(help="A file with the JSON Schema of its data; - reads standard input.", show_default=False)
    ],
    organization_id: AnyOrganizationOption = None,
    description: Annotated[str, typer.Option(help="What it says to those who subscribe.")] = "",
    sample: Annotated[Path | None, typer.Option(help="A file with data for tests and 'trigger', as JSON.")] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Register an event type of the organization's own, or replace its schema, description and sample."""
    body: dict[str, Any] = {"name": name, "schema": read_json(schema, "--schema"), "description": description}
    if sample is not None:
        body["sample"] = read_json(sample, "--sample")
    answer = call(api, organization_id, "register_event_type", body=body)
    print_answer(answer, as_json=as_json, below=("schema", "sample"))
    if not as_json:
        suggest(words("event-types", "show", name, *of(organization_id)))
