"""Upkeep: the quiet duties. Rescue expired leases, keep partitions ready, measure what waits."""

from collections.abc import Mapping

from service.core.deliveries.attempt import attempt_of
from service.core.deliveries.delivery import Delivery
from service.core.deliveries.outcome import classify
from service.core.deliveries.request import Fault
from service.core.deliveries.settlement import Settled, settle
from service.core.endpoints.directory import OrganizationDirectory
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from service.flow.directory import Directory
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.ports.store import DeliveryStore, RetentionStore

RESCUE_BATCH_MAX = 500
BACKLOG_SECONDS = 5.0
RETENTION_SECONDS = 600.0


class Upkeep:
    """Three loops that any number of workers may run side by side."""

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
            rescued = await self._around.persist("rescue", self.rescue_once)
            if rescued < RESCUE_BATCH_MAX:
                await self._around.rest(self._rescue_seconds)

    async def rescue_once(self) -> int:
        """An expired lease is a failed attempt ("lost") that goes the way of all others; how many there were."""
        claims = await self._store.rescue(RESCUE_BATCH_MAX)
        versions = {claim.delivery.organization_id: claim.directory_version for claim in claims}
        directories = await self._around.persist("directory", lambda: self._directory.at(versions))
        now = self._around.clock.now()
        for claim in claims:
            lost = Fault(Reason.LOST, 0, "the worker vanished before it could say what the receiver answered")
            outcome = classify(lost, now)
            schedule = self._schedule_of(claim.delivery, directories)
            settlement = settle(outcome, claim.delivery, schedule, now, self._around.draw())
            attempt = attempt_of(claim.delivery, claim.claim_number, now, lost, outcome)
            await self._settle.put(Settled(claim.delivery, claim.claim_number, settlement, attempt))
        if claims:
            self._around.observer.leases_rescued(len(claims))
        return len(claims)

    def _schedule_of(self, delivery: Delivery, directories: Mapping[str, OrganizationDirectory]) -> RetrySchedule:
        directory = directories.get(delivery.organization_id)
        subscription = directory.subscriptions.get(delivery.key.subscription_id) if directory else None
        return (subscription.endpoint.schedule if subscription else None) or self._schedule

    async def run_backlog(self) -> None:
        """Measure what waits."""
        while True:
            self._around.observer.backlog_measured(await self._around.persist("backlog", self._store.backlog))
            await self._around.rest(BACKLOG_SECONDS)

    async def run_retention(self) -> None:
        """Make tomorrow's partitions, drop those past retention."""
        while True:
            await self._around.persist("retention", self._retention.keep_partitions)
            await self._around.rest(RETENTION_SECONDS)
