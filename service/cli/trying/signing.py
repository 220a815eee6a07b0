"""``sign`` and ``verify``: check by hand whether the sender or the receiver is wrong."""

import sys
import time
from pathlib import Path

import typer

from service.cli.terminal import BAD_USAGE, CommandError, print_json, print_line
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import StyleName


def sign(
    body_file: str,
    secret: list[str],
    message_id: str,
    timestamp: int | None,
    *,
    style: StyleName,
    signature_header: str | None,
    as_json: bool,
) -> None:
    """Print the headers, one per line."""
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
    body_file: str,
    secret: list[str],
    headers_file: Path,
    tolerance_seconds: int,
    *,
    style: StyleName,
    signature_header: str | None,
    as_json: bool,
) -> None:
    """Print ok. Raises ``CommandError`` that says why it is refused."""
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
