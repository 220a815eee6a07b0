"""``audit``: who changed what."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from service.adapters.postgres.audit.log import AuditReader
from service.cli.database import connected
from service.cli.hints import suggest, words
from service.cli.options import time_of
from service.cli.organizations.known import require_organization
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import BAD_USAGE, CommandError, known_names, print_json, tell
from service.core.audit.entry import OPERATIONS, AuditOperation, EntryFilter, EntryView
from service.core.timestamp import format_timestamp, parse_timestamp
from service.core.walk import Walk
from service.settings import load_settings

_COLUMNS: Final = (
    Column("at (UTC)"),
    Column("operation"),
    Column("actor", moves=True),
    Column("from"),
    Column("object", moves=True),
    Column("changed", moves=True),
)


def list_entries(
    organization_id: str | None,
    operation: str | None,
    object_id: str | None,
    actor_id: str | None,
    since: str | None,
    until: str | None,
    *,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """``audit list``."""
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
