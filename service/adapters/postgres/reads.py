"""Looking deliveries up: what became of an event, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, column, select, table, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import driver, translated
from service.core.delivery import DeliveryKey

LIMIT_MAX = 200

_deliveries = table(
    "deliveries",
    *map(
        column,
        (
            "event_uid",
            "subscription_id",
            "replay_number",
            "organization_id",
            "endpoint_id",
            "event_id",
            "event_type",
            "state",
            "reason",
            "created_at",
            "next_attempt_at",
            "ended_at",
            "attempts_made",
        ),
    ),
)
_KEY = tuple_(_deliveries.c.event_uid, _deliveries.c.subscription_id, _deliveries.c.replay_number)


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as people see it."""

    id: str
    event_id: str
    event_type: str
    organization_id: str
    endpoint_id: str
    subscription_id: int
    state: str
    reason: str | None
    attempts_made: int
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt as people see it."""

    number: int
    outcome: str
    reason: str | None
    status: int | None
    started_at: datetime
    duration_ms: int
    is_counted: bool
    detail: str
    reply: str


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; None means any."""

    organization_id: str | None = None
    endpoint_id: str | None = None
    event_id: str | None = None
    state: str | None = None


class DeliveryReader:
    """Reads only: no lock, no change."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(
        self, wanted: DeliveryFilter, *, limit: int = 50, before: DeliveryKey | None = None
    ) -> tuple[Sequence[DeliveryView], DeliveryKey | None]:
        """Deliveries, newest event first, and the key to go on from (None at the end)."""
        query = select(_deliveries).order_by(
            _deliveries.c.event_uid.desc(), _deliveries.c.subscription_id.desc(), _deliveries.c.replay_number.desc()
        )
        for name in ("organization_id", "endpoint_id", "event_id", "state"):
            value = getattr(wanted, name)
            if value is not None:
                query = query.where(_deliveries.c[name] == value)
        if wanted.event_id is not None:
            # The narrow table knows the day, so one partition is searched rather than all.
            async with driver(self._engine) as connection:
                uids = await connection.fetch(
                    """SELECT event_uid FROM event_keys
                        WHERE event_id = $1 AND organization_id = coalesce($2, organization_id)""",
                    wanted.event_id,
                    wanted.organization_id,
                )
            query = query.where(_deliveries.c.event_uid.in_([row["event_uid"] for row in uids]))
        if before is not None:
            query = query.where(tuple_(before.event_uid, before.subscription_id, before.replay_number) > _KEY)
        rows = await self._rows(query.limit(limit + 1))
        views = [_view(row) for row in rows[:limit]]
        return views, _key(rows[limit - 1]) if len(rows) > limit else None

    async def show(self, key: DeliveryKey) -> tuple[DeliveryView, Sequence[AttemptView]] | None:
        """One delivery with every attempt, oldest first."""
        rows = await self._rows(
            select(_deliveries).where(
                _deliveries.c.event_uid == key.event_uid,
                _deliveries.c.subscription_id == key.subscription_id,
                _deliveries.c.replay_number == key.replay_number,
            )
        )
        if not rows:
            return None
        async with driver(self._engine) as connection:
            attempts = await connection.fetch(
                """SELECT number, outcome, reason, status, started_at, duration_ms, is_counted, detail, reply
                     FROM attempts WHERE event_uid = $1 AND subscription_id = $2 AND replay_number = $3
                    ORDER BY number""",
                key.event_uid,
                key.subscription_id,
                key.replay_number,
            )
        return _view(rows[0]), [AttemptView(*attempt) for attempt in attempts]

    async def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with translated():
            async with self._engine.connect() as connection:
                return list(await connection.execute(query))


def _key(row: Any) -> DeliveryKey:  # noqa: ANN401 - a row of the view
    return DeliveryKey(row.event_uid, row.subscription_id, row.replay_number)


def _view(row: Any) -> DeliveryView:  # noqa: ANN401 - a row of the view
    return DeliveryView(
        id=str(_key(row)),
        event_id=row.event_id,
        event_type=row.event_type,
        organization_id=row.organization_id,
        endpoint_id=row.endpoint_id,
        subscription_id=row.subscription_id,
        state=row.state,
        reason=row.reason,
        attempts_made=row.attempts_made,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at if row.state == "pending" else None,
        ended_at=row.ended_at,
    )
