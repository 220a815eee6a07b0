"""``events``: list, show and explain what was received, and publish one's own."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from service.cli.calls.running import call, call_body, print_answer, print_page
from service.cli.hints import suggest, words
from service.cli.options import (
    TIME_FORM,
    AnyOrganizationOption,
    CursorOption,
    LimitOption,
    OldestFirstOption,
    of,
    order_of,
    read_json,
    written_time,
)
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption, print_line, shown

_EventArgument = Annotated[str, typer.Argument(metavar="ID", help="The event's id.")]
_EVENTS: Final = {"received (UTC)": "received_at", "type": "type", "event*": "id"}
_FINDINGS: Final = {
    "finding": "finding",
    "subscribed to": "event_type",
    "endpoint*": "endpoint_id",
    "what became of it*": "sentence",
}

group = typer.Typer(no_args_is_help=True)


@group.command("list")
@reaches_api
def list_events(
    organization_id: AnyOrganizationOption = None,
    event_type: Annotated[list[str] | None, typer.Option(help="Only events of this type. Repeatable.")] = None,
    message_id: Annotated[str | None, typer.Option("--message", help="Only events about this message.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Only events received then or later: {TIME_FORM}.")] = None,
    until: Annotated[str | None, typer.Option(help="Only events received before this time.")] = None,
    *,
    brand_id: Annotated[str | None, typer.Option("--brand", help="Only events of this brand.")] = None,
    campaign_id: Annotated[str | None, typer.Option("--campaign", help="Only events of this campaign.")] = None,
    project_id: Annotated[str | None, typer.Option("--project", help="Only events of this project.")] = None,
    oldest_first: OldestFirstOption = False,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List events, newest first; also those that nobody subscribed to."""
    query = {"event_type": event_type, "message_id": message_id, "limit": limit, "cursor": cursor}
    query |= {"since": written_time(since, "--since"), "until": written_time(until, "--until")}
    query |= {"brand_id": brand_id, "campaign_id": campaign_id, "project_id": project_id}
    page = call(api, organization_id, "list_events", query=query | order_of(is_ascending=oldest_first))
    print_page(page, _EVENTS, nothing="No event matches.", as_json=as_json)
    if page["data"] and not as_json:
        suggest(words("events", "explain", page["data"][0]["id"], *of(organization_id)))


@group.command("show")
@reaches_api
def show_event(
    event_id: _EventArgument,
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Show an event as it was received, with its data."""
    answer = call(api, organization_id, "get_event", path={"event_id": event_id})
    print_answer(answer, as_json=as_json)
    if not as_json:
        suggest(words("events", "explain", event_id, *of(organization_id)))


@group.command("body")
@reaches_api
def write_body(event_id: _EventArgument, organization_id: AnyOrganizationOption = None, *, api: ApiOptions) -> None:
    """Write exactly the bytes that are signed and sent, for 'verify' or to compare with what a receiver got."""
    sys.stdout.buffer.write(call_body(api, organization_id, "get_event_body", {"event_id": event_id}))


@group.command("explain")
@reaches_api
def explain_event(
    event_id: _EventArgument,
    organization_id: AnyOrganizationOption = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="Only subscriptions with this finding, such as no_match. Repeatable.")
    ] = None,
    *,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Say what became of an event at each subscription, and why where nothing did."""
    query = {"finding": finding, "limit": limit, "cursor": cursor}
    page = call(api, organization_id, "explain_event", path={"event_id": event_id}, query=query)
    if not as_json:
        print_line(shown(page["summary"]["sentence"]))
    print_page(page, _FINDINGS, nothing="No subscription matches.", as_json=as_json)
    if not as_json:
        suggest(words("deliveries", "list", "--event", event_id, *of(organization_id)))


@group.command("publish")
@reaches_api
def publish_event(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An event, or {events: […]}, as JSON; - reads stdin.")],
    organization_id: AnyOrganizationOption = None,
    *,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """Publish the events in a file, as POST /v1/events takes them. 'trigger' publishes samples."""
    answer = call(api, organization_id, "publish_events", body=read_json(file, "FILE"))
    print_answer(answer, as_json=as_json)
