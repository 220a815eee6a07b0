"""The FailingStore in memory."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from math import inf

from service.core.endpoints.gates.failing import DisablingPolicy, Recovery, Stage, StageReached, Streak, recovery
from tests.fakes.database import MemoryDatabase


class MemoryFailingStore:
    """The FailingStore port. ``errors`` are raised by ``end``, one a call."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.errors: deque[BaseException] = deque()

    async def judge(self, policy: DisablingPolicy, limit: int) -> Sequence[StageReached]:
        database, reached = self._database, []
        for endpoint_id, breaker in sorted(database.breakers.items()):
            if breaker.failing_since is None or (endpoint_id, "paused") in database.gates:
                continue
            since, stage, attempts_told = database.failing.get(endpoint_id, (None, Stage.NONE, 0))
            if since != breaker.failing_since:
                stage, attempts_told = Stage.NONE, 0
            streak = self._streak(endpoint_id, breaker.failing_since, breaker.attempts_failed, stage, attempts_told)
            found = policy.judge(streak, database.clock.now())
            if found is not None:
                reached.append(found)
        for each in reached[:limit]:
            self._come_to(each)
        return reached[:limit]

    def _come_to(self, reached: StageReached) -> None:
        streak = reached.streak
        self._database.failing[streak.endpoint_id] = (streak.failing_since, reached.stage, streak.attempts_failed)
        if reached.stage is Stage.DISABLED:
            self._database.gates[streak.endpoint_id, "disabled"] = inf
        if reached.event is not None:
            self._database.announce(reached.event)

    async def end(self, limit: int) -> Sequence[Recovery]:
        if self.errors:
            raise self.errors.popleft()
        database, ended = self._database, []
        for endpoint_id, (since, stage, attempts_failed) in sorted(database.failing.items()):
            breaker = database.breakers.get(endpoint_id)
            if breaker is None or breaker.failing_since != since:
                ended.append(self._streak(endpoint_id, since, attempts_failed, stage))
        recoveries = []
        for streak in ended[:limit]:
            del database.failing[streak.endpoint_id]
            database.gates.pop((streak.endpoint_id, "disabled"), None)
            if database.endpoints[streak.endpoint_id].is_removed:
                continue
            recoveries.append(recovery(streak, database.clock.now()))
            if recoveries[-1].event is not None:
                database.announce(recoveries[-1].event)
        return recoveries

    def _streak(
        self, endpoint_id: str, since: datetime, attempts_failed: int, stage: Stage, attempts_told: int = 0
    ) -> Streak:
        owner = self._database.endpoints[endpoint_id].organization_id
        patterns = [each.event_type for each in self._database.active_subscriptions()[endpoint_id]]
        return Streak(owner, endpoint_id, patterns, since, attempts_failed, stage, attempts_told)
