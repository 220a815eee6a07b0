"""How parked messages are shown, and what came of a sweep through their queue."""

import base64
from typing import Any, Final

import typer

from service.cli.hints import suggest, words
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import FAILED, print_fields, print_json, print_line, shown, tell
from service.core.parked.message import ParkedFilter, ParkedMessage, readable, written
from service.core.wording import count_of
from service.ports.parked import Look, Sweep

BODY_CHARACTERS_MAX: Final = 65_536

_COLUMNS: Final = (
    Column("id"),
    Column("parked at (UTC)"),
    Column("reason"),
    Column("type", moves=True),
    Column("organization", moves=True),
    Column("bytes", is_right=True),
    Column("detail", moves=True),
)


def print_look(look: Look, *, as_json: bool) -> None:
    """Those that were found, and how much of the queue was looked at."""
    if as_json:
        print_json({"data": [_summary(each) for each in look.messages], **_extent(look)})
        return
    rows = [
        (
            *(each.id, moment(each.parked_at), each.reason),
            *(each.claims.event_type, each.claims.organization_id, each.body_bytes, each.detail),
        )
        for each in look.messages
    ]
    print_table(_COLUMNS, rows, nothing="No parked message matches." if look.message_count else "Nothing is parked.")
    _tell_extent(look)
    if look.messages:
        suggest(words("parked", "show", look.messages[0].id))


def _summary(message: ParkedMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "reason": message.reason,
        "detail": message.detail,
        "parked_at": message.parked_at,
        "event_id": message.claims.event_id or message.message_id,
        "type": message.claims.event_type,
        "organization_id": message.claims.organization_id,
        "body_bytes": message.body_bytes,
        "is_notice": message.is_notice,
    }


def _contents(message: ParkedMessage) -> dict[str, Any]:
    body = message.body
    text = None
    if body is not None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = None
    return {
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "properties": message.properties,
        "headers": message.headers,
        "body": text,
        "body_base64": base64.b64encode(body).decode() if body is not None and text is None else None,
    }


def print_message(message: ParkedMessage, *, as_json: bool) -> None:
    """One message, with its properties and its body."""
    if as_json:
        print_json(_summary(message) | _contents(message))
        return
    fields = {name: value for name, value in _summary(message).items() if name != "is_notice"}
    fields |= {"exchange": message.exchange, "routing_key": message.routing_key}
    fields |= {name: written(value) for name, value in message.properties.items() if name != "message_id"}
    fields |= {f"header {name}"[:60]: written(value)[:1000] for name, value in message.headers.items()}
    print_fields(fields)
    print_line("")
    if message.is_notice:
        print_line("This is a notice: of the event, which was too large, only its properties were kept.")
    elif message.body is None:
        print_line(f"The body has {message.body_bytes} bytes: --save FILE writes it to a file.")
    else:
        text, is_cut = readable(message.body, BODY_CHARACTERS_MAX)
        if text is None:
            print_line("The body is not UTF-8. Its first bytes:")
            print_line(repr(message.body[:1000]))
        else:
            for line in text.splitlines():
                print_line(shown(line))
        if is_cut:
            print_line(f"… ({count_of(message.body_bytes, 'byte')} in all; --save FILE writes them to a file)")


def _extent(done: Look | Sweep) -> dict[str, Any]:
    return {
        "looked_at_count": done.looked_at_count,
        "message_count": done.message_count,
        "reached_limit": done.reached_limit,
    }


def _tell_extent(done: Look | Sweep) -> None:
    if done.looked_at_count < done.message_count:
        why = f", as that took {done.reached_limit}" if done.reached_limit else ""
        tell(f"{done.looked_at_count} of {count_of(done.message_count, 'message')} were looked at{why}.")


def report(sweep: Sweep, wanted: ParkedFilter, verb: str, *, is_dry: bool, needs_yes: bool, as_json: bool) -> None:
    """What was done, refused and not found. Raises ``typer.Exit`` if something that was named was not done."""
    missing = sorted(wanted.ids - set(sweep.done) - {parked_id for parked_id, _ in sweep.refused})
    if as_json:
        refused = [{"id": each, "reason": why.reason, "detail": why.detail} for each, why in sweep.refused]
        print_json(
            {"done": sweep.done, "refused": refused, "refused_count": sweep.refused_count, "not_found": missing}
            | {"is_dry_run": is_dry}
            | _extent(sweep)
        )
    else:
        would = "would be " if is_dry else ""
        print_line(f"{count_of(len(sweep.done), 'message')} {would}{verb}.")
        if sweep.refused_count:
            tell(f"{sweep.refused_count} would be parked again at once, and stay:")
        for parked_id, why in sweep.refused:
            details = "; ".join(f"{each.field} {each.detail}".strip() for each in why.complaints)
            tell(f"  {parked_id}  {why.reason}: {shown(details)}")
        for parked_id in missing:
            tell(f"  {parked_id}  is not there")
        _tell_extent(sweep)
        if needs_yes:
            tell("Nothing was changed. The same with --yes does it.")
    if missing or (wanted.ids and sweep.refused_count):
        raise typer.Exit(FAILED)
