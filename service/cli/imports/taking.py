"""Taking endpoints over: what a file or an API has, what becomes of each, and how that is shown."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from service.cli.database import connected, require_secret_keys
from service.cli.imports.plan import Import, Row, What, undone
from service.cli.imports.reading import (
    rapidpro_base,
    rapidpro_file,
    rapidpro_token,
    read_api,
    read_file,
)
from service.cli.organizations.known import require_organization
from service.cli.secrets.sealed import require_openable
from service.cli.tables import Column, print_table
from service.cli.terminal import BAD_USAGE, FAILED, CommandError, print_json, shown, tell
from service.core.endpoints.url import masked_url
from service.core.imports import convoy, rapidpro, svix
from service.core.imports.foreign import Foreign, Found, Names, Unreadable, name_types
from service.settings import Settings, load_settings

_COLUMNS: Final = (
    Column("what"),
    Column("event types", moves=True),
    Column("endpoint", moves=True),
    Column("url", moves=True),
    Column("notes", moves=True),
)
_SECRET_COLUMN: Final = Column("secret or public key", moves=True)


def import_rapidpro(
    organization_id: str,
    url: str | None,
    token_file: Path | None,
    file: Path | None,
    save: Path | None,
    names: list[str] | None,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    """``import rapidpro``."""
    if (url is None) == (file is None):
        raise CommandError("Give --url or --file.", BAD_USAGE)
    if url is not None:
        export = asyncio.run(read_api(rapidpro_base(url), rapidpro_token(token_file), save))
    else:
        export = rapidpro_file(file or Path())
    read = rapidpro.read_rapidpro(export)
    _run(
        organization_id,
        read.found,
        ("RapidPro", rapidpro.PREFIX, names, read.slugs),
        is_adding=True,
        applies=apply,
        as_json=as_json,
    )


def import_svix(organization_id: str, file: Path, names: list[str] | None, *, apply: bool, as_json: bool) -> None:
    """``import svix``."""
    found = svix.read_svix(read_file(file))
    origin = ("Svix", svix.PREFIX, names, ())
    _run(organization_id, found, origin, is_adding=False, applies=apply, as_json=as_json)


def import_convoy(
    organization_id: str, file: Path, subscriptions: Path | None, names: list[str] | None, *, apply: bool, as_json: bool
) -> None:
    """``import convoy``."""
    found = convoy.read_convoy(read_file(file), read_file(subscriptions) if subscriptions is not None else None)
    origin = ("Convoy", convoy.PREFIX, names, ())
    _run(organization_id, found, origin, is_adding=False, applies=apply, as_json=as_json)


def _run(
    organization_id: str,
    found: Found,
    origin: tuple[str, str, Sequence[str] | None, Sequence[str]],
    *,
    is_adding: bool,
    applies: bool,
    as_json: bool,
) -> None:
    """Plan, do it if asked to, and print what became of it. ``origin``: name, prefix, --map, further event types."""
    settings = load_settings()
    require_secret_keys(settings)  # a dry run, too: it looks for sealed URLs
    unreadable = [each for each in found if isinstance(each, Unreadable)]
    endpoints = [each for each in found if isinstance(each, Foreign)]

    def show(names: Names, rows: Sequence[Row]) -> None:
        if as_json:
            print_json(_document(organization_id, rows, names, unreadable, applies=applies))
        else:
            _print(rows, names, unreadable, applies=applies)

    names, rows = asyncio.run(
        _do(settings, organization_id, endpoints, origin, show, is_adding=is_adding, applies=applies)
    )
    if unreadable or names.problems or any(each.what is What.REFUSED for each in rows):
        raise typer.Exit(FAILED)


async def _do(
    settings: Settings,
    organization_id: str,
    endpoints: Sequence[Foreign],
    origin: tuple[str, str, Sequence[str] | None, Sequence[str]],
    show: Callable[[Names, Sequence[Row]], None],
    *,
    is_adding: bool,
    applies: bool,
) -> tuple[Names, Sequence[Row]]:
    """The names, and what became of each. They are shown even if it ends in the middle: secrets are, only now."""
    name, prefix, asked, more_types = origin
    async with connected(settings) as engine:
        await require_openable(engine, settings, tells=False)
        await require_organization(engine, organization_id)
        work = Import(engine, settings, organization_id, adds=is_adding)
        theirs = [*more_types, *(each for endpoint in endpoints for each in endpoint.event_types)]
        names = name_types(theirs, await work.own_event_types(), _asked(asked or ()), prefix)
        rows = await work.plan(endpoints, names)
        if applies:
            await work.register(names, name)
        try:
            for each in rows if applies else ():
                await work.apply(each)
        finally:
            if applies:
                rows = [*work.done, *map(undone, rows[len(work.done) :])]
            show(names, rows)
    return names, rows


def _asked(pairs: Sequence[str]) -> Mapping[str, str]:
    found = dict(each.partition("=")[::2] for each in pairs)
    if not all(found) or not all(found.values()):
        raise CommandError("--map: must be THEIRS=OURS, such as new-mother=mother.registered", BAD_USAGE)
    return found


def _print(rows: Sequence[Row], names: Names, unreadable: Sequence[Unreadable], *, applies: bool) -> None:
    for theirs, ours in names.ours.items():
        if ours in names.new:
            tell(f"event type {ours}: {'registered' if applies else 'would be registered'}, for {shown(theirs)}")
    for theirs, why in names.problems.items():
        tell(shown(f"event type {theirs}: {why}; give --map {theirs}=…"))
    for each in unreadable:
        tell(shown(f"{each.where}: {each.why}"))
    has_secrets = any(each.new_secret is not None for each in rows)
    table = [
        (
            each.what.value,
            each.event_types,
            each.endpoint_id,
            masked_url(each.foreign.url),
            *([_secret(each)] if has_secrets else []),
            "; ".join(each.notes),
        )
        for each in rows
    ]
    columns = (*_COLUMNS[:-1], *([_SECRET_COLUMN] if has_secrets else []), _COLUMNS[-1])
    print_table(columns, table, nothing="There are no endpoints in it.")
    counts = Counter(each.what.value for each in rows)
    tell(", ".join(f"{count} {what}" for what, count in counts.items()) + "." if counts else "")
    done = "Not all is done: run this again." if What.NOT_DONE.value in counts else "Done."
    done += " Secrets are shown only now." if has_secrets else ""
    tell(done if applies else "Nothing was changed. The same with --apply does it.")


def _secret(row: Row) -> str | None:
    return row.new_secret.text or row.new_secret.public_key if row.new_secret is not None else None


def _document(
    organization_id: str, rows: Sequence[Row], names: Names, unreadable: Sequence[Unreadable], *, applies: bool
) -> Mapping[str, Any]:
    return {
        "organization_id": organization_id,
        "applied": applies,
        "event_types": [
            {"theirs": theirs, "ours": ours, "is_new": ours in names.new} for theirs, ours in names.ours.items()
        ],
        "endpoints": [
            {
                "what": each.what.value,
                "url": masked_url(each.foreign.url),
                "event_types": list(each.event_types),
                "ids": list(each.foreign.ids),
                "is_paused": each.foreign.is_paused,
                "endpoint_id": each.endpoint_id,
                "secret": each.new_secret and each.new_secret.text,
                "public_key": each.new_secret and each.new_secret.public_key,
                "notes": list(each.notes),
            }
            for each in rows
        ],
        "problems": [
            *({"where": f"event type {name}", "why": why} for name, why in names.problems.items()),
            *({"where": each.where, "why": each.why} for each in unreadable),
        ],
    }
