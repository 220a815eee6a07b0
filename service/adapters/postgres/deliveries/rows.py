"""Conversion between values and rows: the parameters and results of the hot statements."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from service.core.deliveries.allowance import Grant
from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import FINAL_STATES, Delivery, DeliveryKey
from service.core.deliveries.settlement import Settled
from service.ports.store import Claimed


def key_of(row: asyncpg.Record) -> DeliveryKey:
    """The natural key of a row."""
    return DeliveryKey(row["event_uid"], row["subscription_id"], row["replay_number"])


def key_row(key: DeliveryKey) -> tuple[object, ...]:
    """The natural key as columns."""
    return (key.event_uid, key.subscription_id, key.replay_number)


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Rows turned into one array per column, as ``unnest`` takes them."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def settled_row(each: Settled) -> tuple[object, ...]:
    """The arrays of SETTLE, for one settlement."""
    settlement = each.settlement
    return (
        *key_row(each.delivery.key),
        each.claim_number,
        settlement.state.value if settlement.state in FINAL_STATES else None,
        settlement.reason.value if settlement.reason else None,
        settlement.delay_seconds,
        *(_NO_ATTEMPT if each.attempt is None else _attempt_row(each.attempt)),
    )


def late_attempt_rows(batch: Sequence[Settled], moved: Sequence[bool]) -> Sequence[tuple[object, ...]]:
    """The parameters of RECORD_LATE_ATTEMPT, for each attempt of the batch."""
    rows: list[tuple[object, ...]] = []
    for each, has_moved in zip(batch, moved, strict=True):
        if each.attempt is not None:
            attempt = replace(each.attempt, is_counted=each.attempt.is_counted and has_moved)
            rows.append((*key_row(each.delivery.key), each.claim_number, *_attempt_row(attempt)))
    return rows


def _attempt_row(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.number,
        attempt.started_at,
        attempt.duration_ms,
        attempt.outcome.value,
        attempt.reason.value if attempt.reason else None,
        attempt.status,
        attempt.is_counted,
        attempt.detail,
        attempt.reply,
        attempt.headers,
    )


_NO_ATTEMPT = (None,) * 10


def claimed_of(row: asyncpg.Record, body: bytes, grant: Grant | None = None) -> Claimed:
    """A row of ``open_deliveries`` as a ``Claimed``."""
    claim_number = row["claims_made"]
    is_begun = row["begun_claim"] == claim_number
    return Claimed(delivery_of(row, body), claim_number, row["directory_version"], is_begun, grant, row.get("line"))


def delivery_of(row: asyncpg.Record, body: bytes = b"") -> Delivery:
    """A row of ``open_deliveries``."""
    return Delivery(
        key=key_of(row),
        organization_id=row["organization_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        body=body,
        endpoint_id=row["endpoint_id"],
        created_at=row["created_at"],
        attempts_made=row["attempts_made"],
        attempts_recorded=row["attempts_recorded"],
        lost_in_a_row=row["lost_in_a_row"],
    )
