"""``import rapidpro|svix|convoy``: a dry run, unless --apply is given. Repeated, it does what is not done yet."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

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
from service.cli.organizations import OrganizationOption, require_organization
from service.cli.tables import Column, print_table
from service.cli.terminal import BAD_USAGE, EXIT_CODES, FAILED, CommandError, JsonOption, print_json, tell
from service.core.endpoints.url import masked_url
from service.core.imports import convoy, rapidpro, svix
from service.core.imports.foreign import Foreign, Found, Names, Unreadable, name_types
from service.settings import Settings, load_settings

imports = typer.Typer(
    no_args_is_help=True, help="Take over endpoints of RapidPro, Svix or Convoy; a dry run, unless --apply is given."
)

ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without, only show what would be done.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="THEIRS=OURS", help="The name here of an event type there; may be repeated."),
]
ExportOption = Annotated[Path, typer.Option("--file", help="Its answer, as JSON.", show_default=False)]

_COLUMNS: Final = (
    Column("what"),
    Column("event types", moves=True),
    Column("endpoint", moves=True),
    Column("url", moves=True),
    Column("notes", moves=True),
)
_SECRET_COLUMN: Final = Column("secret or public key", moves=True)


@imports.command("rapidpro", epilog=EXIT_CODES)
def import_rapidpro(
    organization_id: OrganizationOption,
    url: Annotated[str | None, typer.Option(help="The URL of a RapidPro: https://…")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with its API token; default: the variable RAPIDPRO_TOKEN.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="An export to read instead of the API.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep each page that was read here, and go on after the last one.")
    ] = None,
    names: MapOption = None,
    *,
    apply: ApplyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take over resthooks and their subscribers: an endpoint for each URL, an event type for each slug.

    An endpoint that has the URL already gets the event types added. Subscribers get new ids.
    """
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


@imports.command("svix", epilog=EXIT_CODES)
def import_svix(
    organization_id: OrganizationOption,
    file: ExportOption,
    names: MapOption = None,
    *,
    apply: ApplyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take over endpoints of a Svix application: the JSON of its list of endpoints.

    Put "secret" and "headers", which Svix answers one by one, into each entry.
    """
    found = svix.read_svix(read_file(file))
    origin = ("Svix", svix.PREFIX, names, ())
    _run(organization_id, found, origin, is_adding=False, applies=apply, as_json=as_json)


@imports.command("convoy", epilog=EXIT_CODES)
def import_convoy(
    organization_id: OrganizationOption,
    file: ExportOption,
    subscriptions: Annotated[
        Path | None, typer.Option(help="The JSON of its list of subscriptions, which name event types; default: all.")
    ] = None,
    names: MapOption = None,
    *,
    apply: ApplyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take over endpoints of a Convoy project, with their secrets: the JSON of its list of endpoints."""
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
            tell(f"event type {ours}: {'registered' if applies else 'would be registered'}, for {theirs}")
    for theirs, why in names.problems.items():
        tell(f"event type {theirs}: {why}; give --map {theirs}=…")
    for each in unreadable:
        tell(f"{each.where}: {each.why}")
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
