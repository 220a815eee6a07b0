"""``import rapidpro|svix|convoy``: a dry run, unless --apply is given. Repeated, it does what is not done yet."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import OrganizationOption
from service.cli.terminal import JsonOption

group = typer.Typer(no_args_is_help=True)

ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without, only show what would be done.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="THEIRS=OURS", help="The name here of an event type there; may be repeated."),
]
ExportOption = Annotated[Path, typer.Option("--file", help="Its answer, as JSON.", show_default=False)]


@group.command("rapidpro")
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
    from service.cli.imports import taking

    taking.import_rapidpro(organization_id, url, token_file, file, save, names, apply=apply, as_json=as_json)


@group.command("svix")
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
    from service.cli.imports import taking

    taking.import_svix(organization_id, file, names, apply=apply, as_json=as_json)


@group.command("convoy")
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
    from service.cli.imports import taking

    taking.import_convoy(organization_id, file, subscriptions, names, apply=apply, as_json=as_json)
