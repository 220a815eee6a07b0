"""Endpoints that fail for days: every minute they are judged, told of, and in the end disabled."""

from service.core.endpoints.gates.failing import DisablingPolicy
from service.flow.surroundings import Surroundings
from service.ports.failing import FailingStore
from service.ports.observer import EndpointJudged, EndpointRecovers

JUDGE_SECONDS = 60.0
JUDGE_BATCH_MAX = 200


class Failing:
    """A loop that any number of workers may run concurrently."""

    def __init__(self, store: FailingStore, policy: DisablingPolicy, around: Surroundings) -> None:
        self._store = store
        self._policy = policy
        self._around = around

    async def run(self) -> None:
        """Judge, every minute."""
        while True:
            if not await self._around.keep_trying("failing", self.judge_once):
                await self._around.rest(JUDGE_SECONDS)

    async def judge_once(self) -> bool:
        """End streaks that are over, then judge those that go on; whether there may be more of either."""
        ended = await self._store.end(JUDGE_BATCH_MAX)
        judged = await self._store.judge(self._policy, JUDGE_BATCH_MAX)
        for recovery in ended:
            self._around.observer.tell(EndpointRecovers(recovery))
        for each in judged:
            self._around.observer.tell(EndpointJudged(each))
        return max(len(ended), len(judged)) == JUDGE_BATCH_MAX
