"""The RetentionStore in memory. Days need no making there, and nobody holds one up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from service.core.deliveries.announcements import delivery_dead
from service.core.deliveries.delivery import OPEN_STATES, STEPS, State, Step
from service.core.events.uid import received_at
from service.core.reason import Reason
from service.ports.retention import AGEING_RATIO, Ageing, Ages, Expired
from tests.fakes.database import DeliveryRow, MemoryDatabase

DAY = timedelta(days=1)


class MemoryRetentionStore:
    """The RetentionStore port. ``error`` is raised by ``make_days``, once; ``ahead_count`` is what it returns."""

    def __init__(self, database: MemoryDatabase, *, retention_days: int = 30) -> None:
        self._database = database
        self._retention_days = retention_days
        self.ahead_count = 7
        self.rounds_count = 0
        self.vacuums_count = 0
        self.error: BaseException | None = None

    async def make_days(self) -> int:
        self.rounds_count += 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self.ahead_count

    async def expire(self, limit: int) -> Sequence[Expired]:
        expired: Counter[tuple[str, str]] = Counter()
        for row in [row for row in self._open(State.PENDING) if self._is_over(row)][:limit]:
            row.state, row.reason = STEPS[row.state][Step.EXPIRE], Reason.PAST_RETENTION
            row.ended_at = self._database.now
            self._database.leave_line(row.delivery.key)
            expired[row.delivery.organization_id, row.delivery.endpoint_id] += 1
            status = next((each.status for each in reversed(row.attempts) if each.status is not None), None)
            dead = delivery_dead(row.delivery, Reason.PAST_RETENTION, status, self._database.clock.now())
            if dead is not None:
                self._database.announce(dead)
        return [Expired(*of, count) for of, count in sorted(expired.items())]

    def _is_over(self, row: DeliveryRow) -> bool:
        at, last_day = received_at(row.delivery.key.event_uid), self._oldest_kept + DAY
        return at < self._oldest_kept or (at < last_day and row.created_at < last_day)

    async def drop_days(self) -> int:
        database = self._database
        days = {_day(received_at(row.uid)) for row in database.events.values()}
        for event in [uid for uid in database.fan_outs if received_at(uid) < self._oldest_kept]:
            del database.fan_outs[event]
        old = sorted(day for day in days if day < self._oldest_kept)
        for dropped_count, day in enumerate(old):
            rows = {key: row for key, row in database.deliveries.items() if _day(received_at(key.event_uid)) == day}
            if any(row.state in OPEN_STATES for row in rows.values()):
                return len(old) - dropped_count
            for key in rows:
                del database.deliveries[key]
            for known in [each for each, row in database.events.items() if _day(received_at(row.uid)) == day]:
                del database.events[known]
        return 0

    async def purge(self) -> None:
        database = self._database
        for gate in [gate for gate, until in database.gates.items() if until < database.now - 86_400]:
            del database.gates[gate]

    async def vacuum(self) -> Sequence[str]:
        self.vacuums_count += 1
        return ()

    async def ages(self) -> Ages:
        database = self._database
        now = database.clock.now()
        found: dict[tuple[str, str], list[float]] = {}
        for row in self._open(*OPEN_STATES):
            age_days = max(0.0, (now - received_at(row.delivery.key.event_uid)) / DAY)
            found.setdefault((row.delivery.organization_id, row.delivery.endpoint_id), []).append(age_days)
        near = AGEING_RATIO * self._retention_days
        ageing = [
            Ageing(*of, sum(age > near for age in ages), max(ages), self._gates(of[1]))
            for of, ages in found.items()
            if max(ages) > near
        ]
        oldest = max((max(ages) for ages in found.values()), default=0.0)
        return Ages(self._retention_days, oldest, tuple(sorted(ageing, key=lambda each: -each.oldest_age_days)))

    def _gates(self, endpoint_id: str) -> tuple[str, ...]:
        gates = self._database.gates.items()
        return tuple(
            sorted(kind for (each, kind), until in gates if each == endpoint_id and until > self._database.now)
        )

    def _open(self, *states: State) -> Iterator[DeliveryRow]:
        rows = [row for row in self._database.deliveries.values() if row.state in states]
        return iter(sorted(rows, key=lambda row: row.delivery.key.event_uid))

    @property
    def _oldest_kept(self) -> datetime:
        return _day(self._database.clock.now()) - timedelta(days=self._retention_days)


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
