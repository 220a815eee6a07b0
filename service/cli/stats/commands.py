"""``stats``: figures of deliveries over time."""

from typing import Annotated, Final, Literal

import typer

from service.cli.calls.running import call, print_answer, print_page
from service.cli.options import AnyOrganizationOption
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption

_COLUMNS: Final = {"success rate": "success_rate", "open": "open", "endpoint*": "endpoint_id"}

group = typer.Typer(no_args_is_help=True)


@group.command("show")
@reaches_api
def show_stats(
    organization_id: AnyOrganizationOption = None,
    period: Annotated[Literal["1h", "24h", "7d", "30d"], typer.Option(help="How far back.")] = "24h",
    endpoint_id: Annotated[str | None, typer.Option("--endpoint", help="Only this endpoint.")] = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show how deliveries do: totals, success rate, backlog, gates, failing endpoints; --json also has the chart."""
    answer = call(api, organization_id, "get_stats", query={"period": period, "endpoint_id": endpoint_id})
    if not as_json:
        answer = {name: value for name, value in answer.items() if name != "buckets"}
    print_answer(answer, as_json=as_json)


@group.command("endpoints")
@reaches_api
def show_endpoint_stats(
    endpoint_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The endpoints' ids, at most 200.")],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show the last 24 hours of endpoints."""
    page = call(api, organization_id, "list_endpoint_stats", query={"endpoint_id": endpoint_ids})
    print_page(page, _COLUMNS, nothing="There are no such endpoints.", as_json=as_json)
