"""``deliveries``: list, show and replay deliveries."""

from typing import Any

import typer

from service.cli.calls.running import call, is_remote, print_answer, tell_more
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
from service.cli.hints import suggest, words
from service.cli.options import CursorOption, LimitOption, OldestFirstOption, order_of
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption, print_json

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
    """List deliveries, newest event first; without an organization, beside the database, those of all."""
    query: dict[str, Any] = {"endpoint_id": endpoint_id, "event_id": event_id, "message_id": message_id}
    query |= {"state": state, "event_type": event_type, "status_code": status_code, "reason": reason}
    query |= {"limit": limit, "cursor": cursor, **order_of(is_ascending=oldest_first)}
    if organization_id is not None or is_remote(api):
        page = call(api, organization_id, "list_deliveries", query=query)
    else:
        from service.cli.deliveries import everywhere

        page = everywhere.read_page(query)
    if as_json:
        print_json(page)
        return
    from service.cli.deliveries.showing import print_deliveries

    print_deliveries(page["data"])
    tell_more(page, "newer" if oldest_first else "older")
    if page["data"]:
        suggest(words("deliveries", "show", page["data"][0]["id"]))
    elif organization_id is not None:
        suggest(words("endpoints", "list", "--organization", organization_id))


@group.command("show")
@reaches_api
def show_delivery(delivery_id: DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Show a delivery with every attempt, oldest first."""
    from service.cli.calls.owners import owner_of_delivery
    from service.cli.deliveries.showing import print_delivery

    found = call(api, None, "get_delivery", path={"id": delivery_id}, whose=owner_of_delivery(delivery_id))
    if as_json:
        print_json(found)
    else:
        print_delivery(found)


@group.command("replay")
@reaches_api
def replay_delivery(delivery_id: DeliveryArgument, *, as_json: JsonOption = False, api: ApiOptions) -> None:
    """Deliver an event again: create a new delivery, due at once. The old one stays unchanged."""
    from service.cli.calls.owners import owner_of_delivery

    made = call(api, None, "replay_delivery", path={"id": delivery_id}, whose=owner_of_delivery(delivery_id))
    print_answer(made, as_json=as_json)
    if not as_json:
        suggest(words("deliveries", "show", made["id"]))
