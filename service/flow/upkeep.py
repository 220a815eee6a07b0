"""Upkeep, the background tasks: rescue expired leases, keep partitions ready, measure the backlog."""

from collections.abc import Mapping

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Delivery
from service.core.deliveries.request import Fault
from service.core.deliveries.settlement import conclude
from service.core.endpoints.directory import OrganizationDirectory
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from service.flow.directory import Directory
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.observer import BacklogMeasured, LeasesRescued
from service.ports.store import DeliveryStore, RetentionStore

RESCUE_BATCH_MAX = 500
BACKLOG_SECONDS = 5.0
RETENTION_SECONDS = 600.0


class Upkeep:
    """Three loops that any number of workers may run concurrently."""

    def __init__(
        self,
        store: DeliveryStore,
        retention: RetentionStore,
        settle: Settle,
        directory: Directory,
        schedule: RetrySchedule,
        around: Surroundings,
        *,
        rescue_seconds: float,
    ) -> None:
        self._around = around
        self._store = store
        self._retention = retention
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
        """Settle each expired lease as a failed attempt with reason "lost"; returns how many there were."""
        claims = await self._store.rescue(RESCUE_BATCH_MAX)
        versions = {claim.delivery.organization_id: claim.directory_version for claim in claims}
        directories = await self._around.keep_trying("directory", lambda: self._directory.at(versions))
        now = self._around.clock.now()
        lost = Fault(Reason.LOST, 0, "the worker was lost before it recorded the receiver's answer")
        for claim in claims:
            started = AttemptStarted(claim.delivery, claim.claim_number, None, now)
            schedule = self._schedule_of(claim.delivery, directories)
            await self._settle.put(conclude(started, lost, schedule, now, self._around.draw()))
        if claims:
            self._around.observer.tell(LeasesRescued(len(claims)))
        return len(claims)

    def _schedule_of(self, delivery: Delivery, directories: Mapping[str, OrganizationDirectory]) -> RetrySchedule:
        directory = directories.get(delivery.organization_id)
        subscription = directory.subscriptions.get(delivery.key.subscription_id) if directory else None
        return (subscription.endpoint.schedule if subscription else None) or self._schedule

    async def run_backlog(self) -> None:
        """Measure the backlog, every few seconds."""
        while True:
            backlog = await self._around.keep_trying("backlog", self._store.backlog)
            self._around.observer.tell(BacklogMeasured(backlog))
            await self._around.rest(BACKLOG_SECONDS)

    async def run_retention(self) -> None:
        """Create the partitions of the days ahead and drop those past retention."""
        while True:
            await self._around.keep_trying("retention", self._retention.keep_partitions)
            await self._around.rest(RETENTION_SECONDS)
