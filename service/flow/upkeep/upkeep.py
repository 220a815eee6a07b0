"""Upkeep, the background tasks: rescue expired leases, measure the backlog."""

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.settlement import completed, conclude_loss
from service.core.endpoints.retry_schedule import RetrySchedule
from service.flow.directory.directory import Directory
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.observer import BacklogMeasured, LeasesRescued
from service.ports.store import DeliveryStore

RESCUE_BATCH_MAX = 500
BACKLOG_SECONDS = 5.0


class Upkeep:
    """Two loops that any number of workers may run concurrently."""

    def __init__(
        self,
        store: DeliveryStore,
        settle: Settle,
        directory: Directory,
        schedule: RetrySchedule,
        around: Surroundings,
        *,
        rescue_seconds: float,
    ) -> None:
        self._around = around
        self._store = store
        self._settle = settle
        self._directory = directory
        self._schedule = schedule
        self._rescue_seconds = rescue_seconds

    async def run_rescue(self) -> None:
        """Settle leases that expired: their worker died, or lost the database for longer than the lease."""
        while True:
            rescued = await self._around.keep_trying("rescue", self.rescue_once)
            if rescued < RESCUE_BATCH_MAX:
                await self._around.rest(self._rescue_seconds)

    async def rescue_once(self) -> int:
        """Settle the leases that expired, as lost; returns how many there were."""
        claims = await self._store.rescue(RESCUE_BATCH_MAX)
        subscriptions = await self._around.keep_trying("directory", lambda: self._directory.serving(claims))
        now = self._around.clock.now()
        for claim, subscription in zip(claims, subscriptions, strict=True):
            started = AttemptStarted(claim.delivery, claim.claim_number, None, now)
            schedule = (subscription.endpoint.schedule if subscription else None) or self._schedule
            lost = conclude_loss(started, schedule, self._around.draw(), has_begun=claim.has_begun)
            await self._settle.put(completed(lost, None, claim.line))  # its place is free when its time is over
        if claims:
            self._around.observer.tell(LeasesRescued(len(claims)))
        return len(claims)

    async def run_backlog(self) -> None:
        """Measure the backlog, every few seconds."""
        while True:
            backlog = await self._around.keep_trying("backlog", self._store.backlog)
            self._around.observer.tell(BacklogMeasured(backlog))
            await self._around.rest(BACKLOG_SECONDS)
