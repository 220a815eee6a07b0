"""``deliveries``: list, show and replay deliveries."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from service.adapters.postgres.deliveries.reader import DeliveryReader
from service.adapters.postgres.deliveries.replays import Replays
from service.adapters.postgres.endpoints.gates.gates import read_gates
from service.adapters.postgres.engine import driver
from service.adapters.system import command_actor
from service.cli.database import connected
from service.cli.hints import suggest, words
from service.cli.organizations.known import require_organization
from service.cli.tables import Column, badge, moment, near, print_table
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    print_fields,
    print_json,
    print_line,
    tell,
)
from service.core.deliveries.delivery import FINAL_STATES, DeliveryKey, State
from service.core.deliveries.view import (
    STATUS_PATTERN,
    DeliveryDetail,
    DeliveryFilter,
    DeliveryView,
    ReplayRefused,
    StatusRange,
    status_range,
)
from service.core.endpoints.gates.gate import Gate, keeping_back
from service.core.reason import Reason
from service.core.walk import Walk
from service.settings import load_settings

_COLUMNS: Final = (
    Column("state"),
    Column("type"),
    Column("answer"),
    Column("tries", is_right=True),
    Column("next (UTC)"),
    Column("delivery", moves=True),
)
_ATTEMPT_COLUMNS: Final = (
    Column("try", is_right=True),
    Column("started (UTC)"),
    Column("took", is_right=True),
    Column("outcome"),
    Column("status"),
    Column("reason"),
    Column("detail", moves=True),
    Column("reply", moves=True),
)

_ID_FORM = "an id looks like dlv_<32 hexadecimal digits>_<number>; 'posthorn deliveries list' shows them"


def list_deliveries(
    organization_id: str | None,
    endpoint_id: list[str] | None,
    event_id: str | None,
    state: list[State] | None,
    *,
    message_id: str | None,
    event_type: list[str] | None,
    status_code: list[str] | None,
    reason: list[Reason] | None,
    oldest_first: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """``deliveries list``."""
    settings = load_settings()
    before = DeliveryKey.parse(cursor) if cursor is not None else None
    if cursor is not None and before is None:
        raise CommandError("--cursor: must be the next_cursor of an earlier list, unchanged.", BAD_USAGE)
    if message_id is not None and organization_id is None:
        raise CommandError("--message: needs --organization, too.", BAD_USAGE)
    wanted = DeliveryFilter(
        organization_id=organization_id,
        endpoint_ids=endpoint_id or (),
        event_id=event_id,
        message_id=message_id,
        states=state or (),
        event_types=event_type or (),
        statuses=list(map(_statuses, status_code or ())),
        reasons=reason or (),
    )

    async def find() -> tuple[Sequence[DeliveryView], Mapping[str, Sequence[Gate]]]:
        async with connected(settings) as engine:
            if organization_id is not None:
                await require_organization(engine, organization_id)
            walk = Walk(limit + 1, before, is_descending=not oldest_first)
            rows = (await DeliveryReader(engine).list(wanted, walk)).rows
            waited_for = {each.endpoint_id for each in rows if each.state == State.PENDING}
            async with driver(engine) as connection:
                return rows, await read_gates(connection, waited_for)

    rest, gates = asyncio.run(find())
    found = rest[:limit]
    next_cursor = found[-1].id if len(rest) > limit else None
    if as_json:
        print_json({"data": [asdict(each) for each in found], "next_cursor": next_cursor})
        return
    _print_list(found, gates)
    if next_cursor:
        tell(f"{len(found)} shown. For {'newer' if oldest_first else 'older'} ones add --cursor {next_cursor}")
    if found:
        suggest(words("deliveries", "show", found[0].id))
    elif organization_id is not None:
        suggest(words("endpoints", "list", "--organization", organization_id))


def _print_list(found: Sequence[DeliveryView], gates: Mapping[str, Sequence[Gate]]) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            badge(each.state, each.attempts_made, is_held=keeper is not None),
            each.event_type,
            _answer(each),
            each.attempts_made,
            _next(each, keeper, now),
            each.id,
        )
        for each in found
        for keeper in (_keeper(each, gates),)
    ]
    print_table(_COLUMNS, rows, nothing="No delivery matches.")


def _statuses(text: str) -> StatusRange:
    if re.fullmatch(STATUS_PATTERN, text) is None:
        raise CommandError(f"--status-code: must be a status such as 503 or 5xx, not {text!r}.", BAD_USAGE)
    return status_range(text)


def _answer(delivery: DeliveryView) -> str:
    told = [str(each) for each in (delivery.last_status, delivery.reason) if each is not None]
    return " ".join(told) or ("no answer" if delivery.attempts_made else "not tried yet")


def _keeper(delivery: DeliveryView, gates: Mapping[str, Sequence[Gate]]) -> Gate | None:
    if delivery.state != State.PENDING:
        return None
    return keeping_back(gates.get(delivery.endpoint_id, ()), delivery.next_attempt_at)


def _next(delivery: DeliveryView, keeper: Gate | None, now: datetime) -> str | None:
    if keeper is not None:
        return f"held to {near(keeper.until, now)}" if keeper.until else f"held, {keeper.kind}"
    if delivery.next_attempt_at is not None:
        return f"due {near(delivery.next_attempt_at, now)}"
    return f"ended {near(delivery.ended_at, now)}" if delivery.ended_at is not None else None


def show_delivery(delivery_id: str, *, as_json: bool) -> None:
    """``deliveries show``."""
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
    rows = [
        (
            each.number,
            moment(each.started_at),
            f"{each.duration_ms} ms",
            each.outcome,
            each.status,
            each.reason,
            each.detail,
            each.reply,
        )
        for each in attempts
    ]
    print_table(_ATTEMPT_COLUMNS, rows, nothing="No attempt yet.")
    if view.state in FINAL_STATES:
        suggest(words("deliveries", "replay", view.id))
    else:
        suggest(words("deliveries", "list", "--organization", view.organization_id, "--event", view.event_id))


def replay_delivery(delivery_id: str, *, as_json: bool) -> None:
    """``deliveries replay``."""
    settings = load_settings()
    key = _key(delivery_id)

    async def replay() -> DeliveryView | ReplayRefused | None:
        async with connected(settings) as engine:
            found = await DeliveryReader(engine).show(key)
            if found is None:
                return None
            return await Replays(engine).replay(found.delivery.organization_id, key, by=command_actor())

    made = asyncio.run(replay())
    if made is None:
        raise _no_delivery(delivery_id)
    if isinstance(made, ReplayRefused):
        raise CommandError(f"{delivery_id} cannot be replayed: {made.sentence}.")
    if as_json:
        print_json(asdict(made))
    else:
        print_fields(asdict(made))
        suggest(words("deliveries", "show", made.id))


def _key(delivery_id: str) -> DeliveryKey:
    key = DeliveryKey.parse(delivery_id)
    if key is None:
        raise CommandError(f"{delivery_id!r} is not a delivery's id: {_ID_FORM}.", BAD_USAGE)
    return key


def _no_delivery(delivery_id: str) -> CommandError:
    return CommandError(f"There is no delivery {delivery_id}; it may be older than POSTHORN_RETENTION_DAYS.")
