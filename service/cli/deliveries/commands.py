"""``deliveries``: list, show and replay deliveries."""

from typing import Any, Final

import typer

from service.cli.calls.running import call, is_remote, print_answer, print_page
from service.cli.deliveries.arguments import (
    DeliveryArgument,
    EndpointsOption,
    EventOption,
    MessageOption,
    OrganizationOption,
    ReasonsOption,
    StatesOption,
    StatusesOption,
    TypesOption,
)
from service.cli.options import CursorOption, LimitOption, OldestFirstOption, order_of
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption

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
    organization_id: OrganizationOption = None,
    endpoint_id: EndpointsOption = None,
    event_id: EventOption = None,
    state: StatesOption = None,
    *,
    message_id: MessageOption = None,
    event_type: TypesOption = None,
    status_code: StatusesOption = None,
    reason: ReasonsOption = None,
    oldest_first: OldestFirstOption = False,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List deliveries, newest event first."""
    if is_remote(api):
        query: dict[str, Any] = {"endpoint_id": endpoint_id, "event_id": event_id, "message_id": message_id}
        query |= {"state": state, "event_type": event_type, "status_code": status_code, "reason": reason}
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
def show_delivery(delivery_id: DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Show a delivery with every attempt, oldest first."""
    if is_remote(api):
        print_answer(call(api, None, "get_delivery", path={"id": delivery_id}), as_json=as_json)
        return
    from service.cli.deliveries import work

    work.show_delivery(delivery_id, as_json=as_json)


@group.command("replay")
@reaches_api
def replay_delivery(delivery_id: DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Deliver an event again: create a new delivery, due at once. The old one stays unchanged."""
    if is_remote(api):
        print_answer(call(api, None, "replay_delivery", path={"id": delivery_id}), as_json=as_json)
        return
    from service.cli.deliveries import work

    work.replay_delivery(delivery_id, as_json=as_json)
