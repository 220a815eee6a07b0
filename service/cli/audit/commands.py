"""``audit``: who changed what."""

from typing import Annotated, Final

import typer

from service.cli.calls.running import call, is_remote, print_page
from service.cli.options import TIME_FORM, CursorOption, LimitOption, written_time
from service.cli.remote.target import ApiOptions, reaches_api
from service.cli.terminal import JsonOption
from service.core.audit.entry import OPERATIONS

_COLUMNS: Final = {"at (UTC)": "at", "operation": "operation", "actor*": "actor.id", "object*": "object_id"}

group = typer.Typer(no_args_is_help=True)


@group.command("list")
@reaches_api
def list_entries(
    organization_id: Annotated[
        str | None, typer.Option("--organization", help="Only changes of this organization.")
    ] = None,
    operation: Annotated[str | None, typer.Option(help=f"Only this one of {', '.join(OPERATIONS)}.")] = None,
    object_id: Annotated[
        str | None, typer.Option("--object", help="Only changes of this endpoint, key, delivery, replay or event type.")
    ] = None,
    actor_id: Annotated[
        str | None, typer.Option("--actor", help="Only changes by this key's id, user@host, or posthorn.")
    ] = None,
    since: Annotated[str | None, typer.Option(help=f"Only changes made then or later: {TIME_FORM}.")] = None,
    until: Annotated[str | None, typer.Option(help="Only changes made before this time.")] = None,
    *,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOptions,
) -> None:
    """List changes, newest first, with who made each, and from where; --json also shows what was before and after."""
    if is_remote(api):
        query = {"operation": operation, "object_id": object_id, "actor_id": actor_id, "limit": limit}
        query |= {"since": written_time(since, "--since"), "until": written_time(until, "--until"), "cursor": cursor}
        page = call(api, organization_id, "list_audit", query=query)
        print_page(page, _COLUMNS, nothing="No change matches.", as_json=as_json)
        return
    from service.cli.audit import work

    work.list_entries(
        organization_id, operation, object_id, actor_id, since, until, limit=limit, cursor=cursor, as_json=as_json
    )
