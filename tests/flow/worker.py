"""A whole worker over the fakes."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from service.core.deliveries.lane import LaneLimits
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.flow import worker as flow
from service.flow.directory import Directory
from service.flow.dispatch import ClaimLimits
from service.flow.intake import Intake
from service.flow.settle import FLUSHERS
from service.flow.surroundings import Surroundings
from tests.fakes.clock import ManualClock
from tests.fakes.database import MemoryDatabase
from tests.fakes.delivery_store import MemoryDeliveryStore
from tests.fakes.events import CountedUids
from tests.fakes.observer import RecordingObserver
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.sender import ScriptedSender
from tests.fakes.source import MemoryEventSource
from tests.fakes.subscription_store import MemoryAdministration, MemorySubscriptionStore

LEASE_SECONDS = 60.0
TIMEOUT_SECONDS = 15.0
MARGIN_SECONDS = 5.0
DRAIN_SECONDS = 20.0


class Retention:
    """The RetentionStore port; counts."""

    def __init__(self) -> None:
        self.kept_count = 0

    async def keep_partitions(self) -> None:
        self.kept_count += 1


@dataclass
class Worker:
    """One worker. Nothing runs until a test starts it; leaving ``async with`` ends what it started."""

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    sender: ScriptedSender = field(default_factory=ScriptedSender)
    source: MemoryEventSource = field(default_factory=MemoryEventSource)
    secret_box: PlainSecretBox = field(default_factory=PlainSecretBox)
    new_uid: CountedUids = field(default_factory=CountedUids)
    limits: LaneLimits = LaneLimits()
    claim_limits: ClaimLimits = ClaimLimits()
    schedule: RetrySchedule = STANDARD
    batch_max: int = 100
    settle_batch_max: int = 100
    settle_unsettled_max: int = 1000
    delivers: bool = True

    def __post_init__(self) -> None:
        self.clock: ManualClock = self.database.clock
        self.observer = RecordingObserver()
        self.store = MemoryDeliveryStore(self.database, lease_seconds=LEASE_SECONDS)
        self.subscriptions = MemorySubscriptionStore(self.database)
        self.administration = MemoryAdministration(self.database, self.secret_box)
        self.retention = Retention()
        self.directory = Directory(self.subscriptions, self.secret_box, schedule=self.schedule)
        self.around = Surroundings(self.clock, self.observer, _no_jitter, self.clock.pause)
        self.whole = flow.Worker(
            self.store,
            self.retention,
            self.directory,
            self.sender,
            self.source,
            self.new_uid,
            self.around,
            schedule=self.schedule,
            limits=flow.WorkerLimits(
                lanes=self.limits,
                claims=self.claim_limits,
                intake_batch_max=self.batch_max,
                settle_batch_max=self.settle_batch_max,
                unsettled_max=self.settle_unsettled_max,
                lease_seconds=LEASE_SECONDS,
                margin_seconds=MARGIN_SECONDS,
                timeout_seconds=TIMEOUT_SECONDS,
                rescue_seconds=10.0,
                drain_seconds=DRAIN_SECONDS,
            ),
        )
        self.lanes, self.deliver, self.settle = self.whole.lanes, self.whole.deliver, self.whole.settle
        self.dispatch, self.intake, self.upkeep = self.whole.dispatch, self.whole.intake, self.whole.upkeep
        if not self.delivers:
            self.intake = Intake(
                self.store,
                self.directory,
                None,
                self.new_uid,
                self.around,
                batch_max=self.batch_max,
                lease_seconds=LEASE_SECONDS,
            )
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        await self.administration.create_organization("org_1")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatch.abandon()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def start(self, *loops: Coroutine[Any, Any, None]) -> None:
        """Run these beside the test."""
        self._tasks += [asyncio.create_task(loop) for loop in loops]

    def start_intake(self) -> None:
        self.start(self.intake.run(self.source))

    def start_settle(self) -> None:
        self.start(*(self.settle.run() for _ in range(FLUSHERS)))

    async def endpoint(self, name: str = "a", *event_types: str) -> str:
        """Register ``https://<name>.example/``; its id."""
        made = await self.administration.add_endpoint(
            "org_1", f"https://{name}.example/", event_types or ("message.sent",)
        )
        return made.id

    def states(self) -> list[str]:
        """The states of all deliveries, in the order they were made."""
        return [row.state.value for row in self.database.deliveries.values()]


def _no_jitter() -> float:
    return 0.0
