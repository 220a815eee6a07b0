"""``trigger``, ``sign``, ``verify`` and ``rehearse``."""

from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from service.cli.options import OrganizationOption
from service.cli.terminal import JsonOption
from service.cli.trying.via import Via
from service.core.events.registry import REGISTRY
from webhook_signature.styles import StyleName

COUNT_MAX: Final = 1_000_000

group = typer.Typer()


BodyArgument = Annotated[str, typer.Argument(metavar="FILE", help="The raw body; - reads standard input.")]
SecretOption = Annotated[
    list[str], typer.Option(help="whsec_<base64>, or whsk_… or whpk_… for ed25519; repeat it during a rotation.")
]
StyleOption = Annotated[
    StyleName, typer.Option(metavar="STYLE", help=f"The endpoint's signature style: {', '.join(get_args(StyleName))}.")
]
HeaderOption = Annotated[
    str | None,
    typer.Option("--signature-header", help="Signature header of a t-v1 endpoint.", show_default=False),
]


@group.command("trigger")
def trigger(
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help=f"{', '.join(REGISTRY)}, or the organization's own.")
    ],
    organization_id: OrganizationOption,
    count: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="How many events.")] = 1,
    via: Annotated[
        Via | None, typer.Option(help="The broker, or POST /v1/events; default: amqp if AMQP_URL is set.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="An API key with the scope publish, for --via http.")] = None,
    url: Annotated[
        str | None, typer.Option(help="The API's base URL, for --via http; default: from the settings.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Publish sample events and print their ids."""
    from service.cli.trying import publishing

    publishing.publish(event_type, organization_id, count, via, key, url, as_json=as_json)


@group.command("sign")
def sign(
    body_file: BodyArgument,
    secret: SecretOption,
    message_id: Annotated[
        str, typer.Option("--id", help="The event's id; required for standard and ed25519.", show_default=False)
    ] = "",
    timestamp: Annotated[int | None, typer.Option(help="Unix seconds; default: now.")] = None,
    *,
    style: StyleOption = "standard",
    signature_header: HeaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the signature headers that Posthorn would send with this body, one per line (for curl -H @file)."""
    from service.cli.trying import signing

    signing.sign(
        *(body_file, secret, message_id, timestamp), style=style, signature_header=signature_header, as_json=as_json
    )


@group.command("verify")
def verify(
    body_file: BodyArgument,
    secret: SecretOption,
    headers_file: Annotated[
        Path, typer.Option("--headers", help="A file with the request's headers, one 'name: value' per line.")
    ],
    tolerance_seconds: Annotated[int, typer.Option(min=1, help="How far the timestamp may be off.")] = 300,
    *,
    style: StyleOption = "standard",
    signature_header: HeaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a request as a receiver does: print ok, or why it is refused."""
    from service.cli.trying import signing

    signing.verify(
        *(body_file, secret, headers_file, tolerance_seconds),
        style=style,
        signature_header=signature_header,
        as_json=as_json,
    )


@group.command("rehearse")
def rehearse(
    url: Annotated[str, typer.Argument(help="The receiver's URL, such as http://localhost:8000/webhooks.")],
    secret: Annotated[
        list[str] | None,
        typer.Option(help="What it verifies with: whsec_…, or whsk_… for ed25519. Asked for if left out."),
    ] = None,
    event_type: Annotated[str, typer.Option(help="The type of the events.")] = "message.sent",
    header: Annotated[
        list[str] | None, typer.Option(help="'Name: value', sent along; repeat it for more.", show_default=False)
    ] = None,
    *,
    style: StyleOption = "standard",
    signature_header: HeaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a receiver: send it right and wrong requests, and say which of its answers are mistakes.

    Needs no database and no service. All events are tests (test: true), and their ids begin with evt_rehearsal_.
    Exits with 1 if events would be lost or forged.
    """
    from service.cli.trying import rehearsing

    rehearsing.rehearse(
        *(url, secret, event_type, header), style=style, signature_header=signature_header, as_json=as_json
    )
