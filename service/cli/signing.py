"""``sign`` and ``verify``: check by hand whether the sender or the receiver is wrong."""

import sys
import time
from pathlib import Path
from typing import Annotated, get_args

import typer

from service.cli.terminal import BAD_USAGE, CommandError, JsonOption, print_json, print_line
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import StyleName

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
    body = _read(body_file)
    try:
        webhook = Webhook(secret, style=style, signature_header=signature_header)
        headers = webhook.sign(message_id, int(time.time()) if timestamp is None else timestamp, body)
    except VerificationError as error:
        raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None
    except ValueError as error:
        raise CommandError(f"{error}", BAD_USAGE) from None
    if as_json:
        print_json(headers)
        return
    for name, value in headers.items():
        print_line(f"{name}: {value}")


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
    headers = _parse_headers(_read(str(headers_file)))
    body = _read(body_file)
    try:
        webhook = Webhook(
            secret, tolerance_seconds, style, signature_header=signature_header, body_bytes_max=max(1, len(body))
        )
        verified = webhook.verify(body, headers)
    except ValueError as error:
        raise CommandError(f"{error}", BAD_USAGE) from None
    except VerificationError as error:
        if error.reason == "bad_secret":
            raise CommandError(f"--secret: {error.detail}", BAD_USAGE) from None
        if as_json:
            print_json({"ok": False, "reason": error.reason, "detail": error.detail})
            raise typer.Exit(1) from None
        raise CommandError(str(error)) from None
    if as_json:
        print_json({"ok": True, "id": verified.id, "timestamp": verified.timestamp, "key_index": verified.key_index})
    else:
        print_line("ok")


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.", BAD_USAGE) from None


def _parse_headers(raw: bytes) -> list[tuple[str, str]]:
    """Parse ``name: value`` lines, as curl -v and proxies log them; skip the request line and blank lines."""
    pairs = []
    for line in raw.decode("latin-1").splitlines():
        name, colon, value = line.removeprefix("> ").removeprefix("< ").partition(":")
        if colon and " " not in name.strip():
            pairs.append((name.strip(), value.strip()))
    return pairs
