"""How deliveries are printed, whoever read them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

from service.cli.calls.running import print_answer
from service.cli.hints import suggest, words
from service.cli.tables import Column, badge, moment, near, print_table
from service.cli.terminal import print_line
from service.core.deliveries.delivery import FINAL_STATES, State
from service.core.wording import duration

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

_STANDING: Final = {State.DEAD: "given up", State.LEASED: "being sent"}


def print_deliveries(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a list."""
    now = datetime.now(UTC)
    print_table(_COLUMNS, [_cells(each, now) for each in rows], nothing="No delivery matches.")


def print_delivery(delivery: Mapping[str, Any]) -> None:
    """Print one delivery with its attempts, and what can be done next."""
    print_answer({name: value for name, value in delivery.items() if name != "attempts"}, as_json=False)
    print_line("")
    rows = [
        (
            *(each["number"], moment(_instant(each["started_at"])), duration(each["duration_ms"])),
            *(each[name] for name in ("outcome", "status", "reason", "detail", "reply")),
        )
        for each in delivery["attempts"]
    ]
    print_table(_ATTEMPT_COLUMNS, rows, nothing="No attempt yet.")
    if delivery["state"] in FINAL_STATES:
        suggest(words("deliveries", "replay", delivery["id"]))
    else:
        suggest(words("deliveries", "list", "--event", delivery["event_id"]))


def _cells(delivery: Mapping[str, Any], now: datetime) -> Sequence[object]:
    made, most = delivery["attempts_made"], delivery["attempts_max"]
    return (
        badge(delivery["state"], made, is_held=delivery["held_by"] is not None),
        delivery["event_type"],
        _answer(delivery),
        made if most is None else f"{made}/{most}",
        _next(delivery, now),
        Text(delivery["id"], "dim"),
    )


def _answer(delivery: Mapping[str, Any]) -> Text:
    told = [str(each) for each in (delivery["last_status"], delivery["reason"]) if each is not None]
    if not told:
        return Text("no answer" if delivery["attempts_made"] else "not tried yet", "dim")
    return Text(" ".join(told), {State.DELIVERED: "", State.CANCELLED: "dim"}.get(delivery["state"], "red"))


def _next(delivery: Mapping[str, Any], now: datetime) -> str | None:
    keeper, state = delivery["held_by"], delivery["state"]
    ended_at, due_at = _instant(delivery["ended_at"]), _instant(delivery["next_attempt_at"])
    if state in _STANDING:
        return _STANDING[state]
    if state == State.DELIVERED and ended_at is not None:
        took = ended_at - datetime.fromisoformat(delivery["created_at"])
        return f"took {duration(took.total_seconds() * 1000)}"
    if keeper is not None:
        until = _instant(keeper["until"])
        return f"held to {near(until, now, '%H:%M')}" if until else f"held, {keeper['kind']}"
    if due_at is not None:
        return f"due {near(due_at, now)}"
    return f"ended {near(ended_at, now)}" if ended_at is not None else None


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
