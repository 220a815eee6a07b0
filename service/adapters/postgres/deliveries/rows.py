"""Values as rows, and rows as values: the shapes that the hot statements take and give."""

from collections.abc import Sequence

import asyncpg

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.settlement import Retry, Settled
from service.ports.store import Claim


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
        None if isinstance(settlement, Retry) else settlement.state.value,
        settlement.reason.value if settlement.reason else None,
        settlement.delay_seconds if isinstance(settlement, Retry) else None,
        *(_NO_ATTEMPT if each.attempt is None else _attempt_row(each.attempt)),
    )


def late_attempt_row(each: Settled) -> tuple[object, ...]:
    """The parameters of RECORD_LATE_ATTEMPT."""
    attempt = () if each.attempt is None else _attempt_row(each.attempt)
    return (*key_row(each.delivery.key), each.claim_number, *attempt)


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
    )


_NO_ATTEMPT = (None,) * 9


def claim_of(row: asyncpg.Record, body: bytes) -> Claim:
    """A row of ``open_deliveries`` as the flow knows it."""
    delivery = Delivery(
        key=DeliveryKey(row["event_uid"], row["subscription_id"], row["replay_number"]),
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
    return Claim(delivery, row["claims_made"], row["directory_version"])
