"""Looking deliveries up: what became of an event, and why."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from service.adapters.postgres.deliveries.reader import LIMIT_MAX, DeliveryReader
from service.adapters.postgres.deliveries.replays import Replays
from service.cli.database import connected
from service.cli.terminal import (
    BAD_USAGE,
    EXIT_CODES,
    CommandError,
    JsonOption,
    print_fields,
    print_json,
    print_line,
    print_table,
    tell,
)
from service.core.deliveries.delivery import DeliveryKey, State
from service.core.deliveries.view import DeliveryDetail, DeliveryFilter, DeliveryView, ReplayRefused
from service.core.reason import Reason
from service.settings import load_settings

deliveries = typer.Typer(no_args_is_help=True, help="What became of events, and why.")

_ID_FORM = "an id looks like dlv_<32 hexadecimal digits>_<number>; 'posthorn deliveries list' shows them"


@deliveries.command("list", epilog=EXIT_CODES)
def list_deliveries(
    organization_id: Annotated[str | None, typer.Option("--organization", help="Only this organization's.")] = None,
    endpoint_id: Annotated[str | None, typer.Option("--endpoint", help="Only to this endpoint.")] = None,
    event_id: Annotated[str | None, typer.Option("--event", help="Only of this event.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those that stand here.")] = None,
    *,
    event_type: Annotated[str | None, typer.Option(help="Only of events of this type.")] = None,
    status_code: Annotated[
        int | None, typer.Option(min=100, max=999, help="Only those whose last answer had this status.")
    ] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only those that ended, or last failed, for this.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on from the last list's next_cursor.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Deliveries, newest event first."""
    settings = load_settings()
    before = DeliveryKey.parse(cursor) if cursor is not None else None
    if cursor is not None and before is None:
        raise CommandError("--cursor: give the next_cursor of an earlier list, as it was.", BAD_USAGE)
    wanted = DeliveryFilter(
        organization_id=organization_id,
        endpoint_id=endpoint_id,
        event_id=event_id,
        state=state,
        event_type=event_type,
        status_code=status_code,
        reason=reason,
    )

    async def find() -> tuple[Sequence[DeliveryView], DeliveryKey | None]:
        async with connected(settings) as engine:
            return await DeliveryReader(engine).list(wanted, limit=limit, before=before)

    found, following = asyncio.run(find())
    next_cursor = str(following) if following else None
    if as_json:
        print_json({"data": [asdict(each) for each in found], "next_cursor": next_cursor})
        return
    _print_deliveries(found)
    if next_cursor:
        tell(f"There are more: --cursor {next_cursor}")


def _print_deliveries(found: Sequence[DeliveryView]) -> None:
    columns = ("id", "event", "type", "endpoint", "state", "reason", "status", "attempts", "next attempt at")
    rows = [
        (
            each.id,
            each.event_id,
            each.event_type,
            each.endpoint_id,
            each.state,
            each.reason,
            each.last_status,
            each.attempts_made,
            each.next_attempt_at,
        )
        for each in found
    ]
    print_table(columns, rows, nothing="No such deliveries.")


@deliveries.command("show", epilog=EXIT_CODES)
def show_delivery(delivery_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: JsonOption = False) -> None:
    """One delivery with every attempt, oldest first."""
    settings = load_settings()
    key = _key(delivery_id)

    async def find() -> DeliveryDetail | None:
        async with connected(settings) as engine:
            return await DeliveryReader(engine).show(key)

    found = asyncio.run(find())
    if found is None:
        raise _no_delivery(delivery_id)
    view, attempts = found.delivery, found.attempts
    if as_json:
        print_json(asdict(view) | {"attempts": [asdict(each) for each in attempts]})
        return
    print_fields(asdict(view))
    print_line("")
    columns = ("attempt", "started at", "ms", "outcome", "reason", "status", "detail", "reply")
    rows = [
        (
            each.number,
            each.started_at,
            each.duration_ms,
            each.outcome,
            each.reason,
            each.status,
            each.detail,
            each.reply,
        )
        for each in attempts
    ]
    print_table(columns, rows, nothing="No attempt yet.")


@deliveries.command("replay", epilog=EXIT_CODES)
def replay_delivery(delivery_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: JsonOption = False) -> None:
    """Deliver an event again: a new delivery, due at once. The old one stays as it ended."""
    settings = load_settings()
    key = _key(delivery_id)

    async def replay() -> DeliveryView | ReplayRefused | None:
        async with connected(settings) as engine:
            found = await DeliveryReader(engine).show(key)
            return await Replays(engine).replay(found.delivery.organization_id, key) if found is not None else None

    made = asyncio.run(replay())
    if made is None:
        raise _no_delivery(delivery_id)
    if isinstance(made, ReplayRefused):
        raise CommandError(f"{delivery_id} is not replayed: {made.sentence}.")
    if as_json:
        print_json(asdict(made))
    else:
        print_fields(asdict(made))


def _key(delivery_id: str) -> DeliveryKey:
    key = DeliveryKey.parse(delivery_id)
    if key is None:
        raise CommandError(f"{delivery_id!r} is no delivery's id: {_ID_FORM}.", BAD_USAGE)
    return key


def _no_delivery(delivery_id: str) -> CommandError:
    return CommandError(f"There is no delivery {delivery_id}; it may be older than POSTHORN_RETENTION_DAYS.")
