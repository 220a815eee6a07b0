"""Arguments and options of several commands about endpoints."""

from pathlib import Path
from typing import Annotated

import typer

from service.core.events.registry import REGISTRY
from service.core.events.types.operational import OPERATIONAL
from webhook_signature.styles import STYLES, StyleName

EndpointArgument = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]
EventTypesOption = Annotated[
    str,
    typer.Option(
        help=f"Comma-separated: {', '.join(REGISTRY)}, your own types, 'message.*' or '*'; and, which '*' does not "
        f"cover: {', '.join(OPERATIONAL)}.",
        show_default=False,
    ),
]
StyleOption = Annotated[
    StyleName | None,
    typer.Option(metavar="STYLE", help=f"How to sign: {', '.join(STYLES)}; default: standard."),
]
NewStyleOption = Annotated[
    StyleName | None,
    typer.Option(metavar="STYLE", help=f"How to sign: {', '.join(STYLES)}; unchanged if left out."),
]
AuthFileOption = Annotated[
    Path | None,
    typer.Option(help="A JSON file with the endpoint's auth, as /v1 takes it; it keeps secrets off the command line."),
]
OrderByOption = Annotated[
    str | None, typer.Option(help="In order, one after the other, where this value is the same: data.message.id.")
]
ValidUntilOption = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="From then on it gets nothing more: 2027-01-31T12:00:00Z.")
]
OrderWaitOption = Annotated[float | None, typer.Option(help="How long one that failed holds up the others.")]
