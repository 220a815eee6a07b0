"""``audit``: who changed what."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from service.adapters.postgres.audit.log import AuditReader
from service.cli.database import connected
from service.cli.hints import suggest, words
from service.cli.organizations import require_organization
from service.cli.replays import TIME_FORM, time_of
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import BAD_USAGE, EXIT_CODES, CommandError, JsonOption, known_names, print_json, tell
from service.core.audit.entry import OPERATIONS, AuditOperation, EntryFilter, EntryView
from service.core.timestamp import format_timestamp, parse_timestamp
from service.core.walk import Walk
from service.settings import load_settings

LIMIT_MAX: Final = 200

_COLUMNS: Final = (
    Column("at (UTC)"),
    Column("operation"),
    Column("actor", moves=True),
    Column("from"),
    Column("object", moves=True),
    Column("changed", moves=True),
)

audit = typer.Typer(no_args_is_help=True, help="See who changed what.")


@audit.command("list", epilog=EXIT_CODES)
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
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue an earlier list: its next_cursor.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List changes, newest first, with who made each, and from where; --json also shows what was before and after."""
    settings = load_settings()
    after = _keyset(cursor)
    wanted = EntryFilter(
        organization_id,
        _operation(operation),
        object_id,
        actor_id,
        None if since is None else time_of(since, "--since"),
        None if until is None else time_of(until, "--until"),
    )

    async def find() -> Sequence[EntryView]:
        async with connected(settings) as engine:
            if organization_id is not None:
                await require_organization(engine, organization_id)
            return await AuditReader(engine).list(wanted, Walk(limit + 1, after))

    found = asyncio.run(find())
    shown = found[:limit]
    next_cursor = f"{format_timestamp(shown[-1].at)},{shown[-1].id}" if len(found) > limit else None
    if as_json:
        print_json({"data": [asdict(each) for each in shown], "next_cursor": next_cursor})
        return
    rows = [
        (moment(each.at), each.operation, each.actor_id, each.address, each.object_id, _changed(each)) for each in shown
    ]
    print_table(_COLUMNS, rows, nothing="No change matches.")
    if next_cursor:
        tell(f"{len(shown)} shown. For older ones add --cursor {next_cursor}")
    if shown:
        suggest(words("audit", "list", "--object", shown[0].object_id, "--json"))


def _operation(text: str | None) -> AuditOperation | None:
    if text is None:
        return None
    (name,) = known_names(text.partition(",")[0], OPERATIONS, "operation")
    return next(each for each in OPERATIONS if each == name)


def _keyset(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    at_text, _, entry_id = cursor.partition(",")
    at = parse_timestamp(at_text)
    if at is None or not entry_id:
        raise CommandError("--cursor: must be the next_cursor of an earlier list, unchanged.", BAD_USAGE)
    return at, entry_id


def _changed(entry: EntryView) -> str:
    """The names of the fields that an entry tells of."""
    fields: Mapping[str, Any] = {**(entry.before or {}), **(entry.after or {})}
    return ", ".join(fields)
