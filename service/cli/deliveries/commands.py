"""``deliveries``: list, show and replay deliveries."""

from typing import Annotated, Any, Final

import typer

from service.cli.calls.running import call, is_remote, print_answer, print_page
from service.cli.options import CursorOption, LimitOption, OldestFirstOption, order_of
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption
from service.core.deliveries.delivery import State
from service.core.reason import Reason

_DeliveryArgument = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]
_COLUMNS: Final = {
    "state": "state",
    "type": "event_type",
    "status": "last_status",
    "reason": "reason",
    "tries": "attempts_made",
    "next (UTC)": "next_attempt_at",
    "delivery*": "id",
}

group = typer.Typer(no_args_is_help=True)


@group.command("list")
@reaches_api
def list_deliveries(
    organization_id: Annotated[
        str | None, typer.Option("--organization", help="Only deliveries of this organization.")
    ] = None,
    endpoint_id: Annotated[
        list[str] | None, typer.Option("--endpoint", help="Only deliveries to this endpoint. Repeatable.")
    ] = None,
    event_id: Annotated[str | None, typer.Option("--event", help="Only deliveries of this event.")] = None,
    state: Annotated[
        list[State] | None,
        typer.Option(metavar="STATE", help=f"Only deliveries in this state: {', '.join(State)}. Repeatable."),
    ] = None,
    *,
    message_id: Annotated[
        str | None, typer.Option("--message", help="Only deliveries of events about this message; with --organization.")
    ] = None,
    event_type: Annotated[
        list[str] | None, typer.Option(help="Only deliveries of this event type. Repeatable.")
    ] = None,
    status_code: Annotated[
        list[str] | None,
        typer.Option(help="Only deliveries whose last answer had this status: 503, or 5xx. Repeatable."),
    ] = None,
    reason: Annotated[
        list[Reason] | None,
        typer.Option(metavar="REASON", help=f"Only deliveries with this reason: {', '.join(Reason)}. Repeatable."),
    ] = None,
    oldest_first: OldestFirstOption = False,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List deliveries, newest event first."""
    if is_remote(api):
        query: dict[str, Any] = {
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "state": state,
            "message_id": message_id,
        }
        query |= {"event_type": event_type, "status_code": status_code, "reason": reason}
        query |= {"limit": limit, "cursor": cursor, **order_of(is_ascending=oldest_first)}
        page = call(api, organization_id, "list_deliveries", query=query)
        print_page(page, _COLUMNS, nothing="No delivery matches.", as_json=as_json)
        return
    from service.cli.deliveries import work

    work.list_deliveries(
        organization_id,
        endpoint_id,
        event_id,
        state,
        message_id=message_id,
        event_type=event_type,
        status_code=status_code,
        reason=reason,
        oldest_first=oldest_first,
        limit=limit,
        cursor=cursor,
        as_json=as_json,
    )


@group.command("show")
@reaches_api
def show_delivery(delivery_id: _DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Show a delivery with every attempt, oldest first."""
    if is_remote(api):
        print_answer(call(api, None, "get_delivery", path={"id": delivery_id}), as_json=as_json)
        return
    from service.cli.deliveries import work

    work.show_delivery(delivery_id, as_json=as_json)


@group.command("replay")
@reaches_api
def replay_delivery(delivery_id: _DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Deliver an event again: create a new delivery, due at once. The old one stays unchanged."""
    if is_remote(api):
        print_answer(call(api, None, "replay_delivery", path={"id": delivery_id}), as_json=as_json)
        return
    from service.cli.deliveries import work

    work.replay_delivery(delivery_id, as_json=as_json)
