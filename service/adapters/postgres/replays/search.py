"""Where one part of a replay job looks for deliveries, as the values that the statements bind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import asyncpg

from service.adapters.postgres.deliveries.list import walk_types
from service.adapters.postgres.replays.statements import counting, judging, walk
from service.core.deliveries.delivery import State
from service.core.events.uid import day_of, first_uid_from
from service.core.replays.step import Candidate, Place

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Search:
    """The ended deliveries of one endpoint that a job is about. ``ended_by``: what ended later is not its matter."""

    endpoint_id: str
    event_types: Sequence[str] | None
    event_uids: Sequence[UUID]
    subscription_ids: Sequence[int]
    first: UUID
    before: UUID
    states: Sequence[str]
    ended_by: datetime

    @classmethod
    def of(cls, job: Mapping[str, Any], endpoint_id: str, event_types: Sequence[str] | None) -> Self:
        """What row ``job`` looks for at this endpoint. Without ``event_types``, ``with_types`` must follow."""
        since, until = job["since"], job["until"]
        return cls(
            endpoint_id,
            [job["event_type"]] if job["event_type"] is not None else event_types,
            job["event_uids"],
            job["subscription_ids"],
            first_uid_from(since) if since is not None else _FIRST,
            first_uid_from(until) if until is not None else _LAST,
            job["states"],
            job["created_at"],
        )

    def not_before(self, oldest: UUID) -> Self:
        """The same without events older than ``oldest``."""
        return replace(self, first=max(self.first, oldest))

    async def with_types(self, connection: asyncpg.Connection) -> Self:
        """The same with the event types that occur, found by one index probe each."""
        if self.event_types is not None or self.event_uids:
            return self
        # Whole days only: within a day, the probe would have to read the deliveries that are not wanted.
        conditions = ["endpoint_id = $1", f"event_uid >= '{day_of(self.first)[0]}'"]
        found = set()
        for half in self._halves:
            types = await connection.fetch(walk_types("final_deliveries", [*conditions, half]), self.endpoint_id)
            found |= {row["event_type"] for row in types}
        return replace(self, event_types=sorted(found))

    @property
    def _halves(self) -> Sequence[str]:
        halves = {"state = 'delivered'": self._with_delivered, "state <> 'delivered'": self._with_failed}
        return [half for half, is_wanted in halves.items() if is_wanted]

    @property
    def _with_delivered(self) -> bool:
        return State.DELIVERED in self.states

    @property
    def _with_failed(self) -> bool:
        return any(state != State.DELIVERED for state in self.states)

    async def count(self, connection: asyncpg.Connection, after: Place | None, limit: int) -> tuple[int, Place | None]:
        """How many of the next ``limit`` deliveries match, and the place after them; None at the end."""
        row = await connection.fetchrow(counting(self._walk), *self._arguments(after, limit))
        is_last = row["looked_at"] < limit
        return row["matching"], None if is_last else (row["event_uid"], row["subscription_id"])

    async def judge(
        self, connection: asyncpg.Connection, after: Place | None, limit: int
    ) -> tuple[Sequence[Candidate], Place | None]:
        """Those of the next ``limit`` deliveries that match, and the place after them all; None at the end."""
        rows = await connection.fetch(judging(self._walk), *self._arguments(after, limit))
        found = [
            Candidate(
                row["event_uid"],
                row["subscription_id"],
                row["replay_number"],
                row["newest_number"],
                row["is_subscribed"],
                row["has_event"],
            )
            for row in rows
            if row["is_match"]
        ]
        is_last = len(rows) < limit
        return found, None if is_last else (rows[-1]["event_uid"], rows[-1]["subscription_id"])

    @property
    def _walk(self) -> str:
        return walk(is_named=bool(self.event_uids), with_delivered=self._with_delivered, with_failed=self._with_failed)

    def _arguments(self, after: Place | None, limit: int) -> Sequence[Any]:
        uid, subscription_id = max(after or (self.first, 0), (self.first, 0))
        what = self.event_uids or self.event_types
        named = (self.subscription_ids,) if self.event_uids else ()
        return (
            *(self.endpoint_id, what, uid, self.before, subscription_id, limit, self.states, self.ended_by),
            *named,
        )
