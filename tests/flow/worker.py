"""A whole worker over the fakes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from service.core.deliveries.attempt import Attempt
from service.core.deliveries.delivery import Delivery, DeliveryKey, Lease
from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.deliveries.outcome import OutcomeKind
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.flow import worker as flow
from service.flow.directory.directory import Directory
from service.flow.dispatch import ClaimLimits
from service.flow.intake.intake import Intake
from service.flow.settle import FLUSHERS
from service.flow.surroundings import Surroundings
from service.ports.store import Claimed
from tests.fakes.clock import ManualClock
from tests.fakes.count_store import MemoryCountStore
from tests.fakes.database import MemoryDatabase
from tests.fakes.delivery_store import MemoryDeliveryStore, alike
from tests.fakes.events import CountedUids
from tests.fakes.expiry_store import MemoryExpiryStore
from tests.fakes.failing_store import MemoryFailingStore
from tests.fakes.fan_out_store import MemoryFanOutStore
from tests.fakes.observer import RecordingObserver
from tests.fakes.replay_store import MemoryReplayStore
from tests.fakes.retention_store import MemoryRetentionStore
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.sender import ScriptedSender
from tests.fakes.settlements import lease_for
from tests.fakes.source import MemoryEventSource
from tests.fakes.subscription_store import MemoryAdministration, MemorySubscriptionStore

LEASE_SECONDS = 60.0
TIMEOUT_SECONDS = 15.0
MARGIN_SECONDS = 5.0
DRAIN_SECONDS = 20.0


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
    disable_after_seconds: float = 5 * 86_400.0
    draw: Callable[[float, float], float] | None = None

    def __post_init__(self) -> None:
        self.clock: ManualClock = self.database.clock
        self.observer = RecordingObserver()
        self.store = MemoryDeliveryStore(self.database, lease_seconds=LEASE_SECONDS)
        self.subscriptions = MemorySubscriptionStore(self.database)
        self.administration = MemoryAdministration(self.database, self.secret_box)
        self.days = MemoryRetentionStore(self.database)
        self.directory = Directory(self.subscriptions, self.secret_box, schedule=self.schedule)
        self.around = Surroundings(self.clock, self.observer, self._draw, self.clock.pause)
        self.fan_outs = MemoryFanOutStore(self.database)
        self.counts = MemoryCountStore(self.database)
        self.failing_store = MemoryFailingStore(self.database)
        self.expiry_store = MemoryExpiryStore(self.database)
        self.replays = MemoryReplayStore(self.database)
        self.whole = flow.Worker(
            self.store,
            self.days,
            self.directory,
            self.sender,
            self.source,
            self.new_uid,
            self.around,
            counts=self.counts,
            fan_outs=self.fan_outs,
            failing=self.failing_store,
            expiry=self.expiry_store,
            replays=self.replays,
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
                disable_after_seconds=self.disable_after_seconds,
            ),
        )
        self.lanes, self.deliver, self.settle = self.whole.lanes, self.whole.deliver, self.whole.settle
        self.dispatch, self.intake, self.upkeep = self.whole.dispatch, self.whole.intake, self.whole.upkeep
        self.retention = self.whole.retention
        self.suspects = self.whole.suspects
        self.fan_out = self.whole.fan_out
        self.counting = self.whole.counting
        self.failing = self.whole.failing
        self.expiries = self.whole.expiries
        self.replay = self.whole.replay
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

    async def endpoint(self, name: str = "a", *event_types: str, is_proven: bool = True) -> str:
        """Register ``https://<name>.example/``, which has answered this worker promptly before; its id."""
        url = f"https://{name}.example/"
        made = await self.administration.add_endpoint("org_1", url, event_types or ("message.sent",))
        if is_proven:
            self.prove(made.id, url)
        return made.id

    def prove(self, endpoint_id: str, url: str) -> None:
        """Make it an endpoint that has always answered this worker promptly, and earned its whole limit by it."""
        delivery = Delivery(
            DeliveryKey(UUID(int=0), 1), "org_1", "evt_0", "message.sent", b"", endpoint_id, self.clock.now()
        )
        lease = Lease(delivery, Endpoint(endpoint_id, "org_1", url, ()), 1, 0.0)
        assert self.lanes.reserve(endpoint_id, 0.0)
        self.lanes.put(lease)
        assert self.lanes.take(0.0) is lease
        self.lanes.learn(lease, Attempt(1, 1, self.clock.now(), 1, OutcomeKind.ACCEPTED), 0.0)
        self.lanes.done(lease)
        self.lanes._paces.of(endpoint_id).limit = float(self.limits.lane_in_flight_max)

    async def claim(self, limit: int = 500, *, begins: bool = False) -> Sequence[Claimed]:
        """Claim what is due, as a worker does that may be lost before it begins with it, or after."""
        claims = await self.store.claim_due(alike(limit))
        if begins:
            await self.store.begin([lease_for(claim) for claim in claims])
        return claims

    async def leases(self) -> Sequence[Lease]:
        """Claim what is due, as a worker that begins with it."""
        expires_at = self.clock.monotonic() + LEASE_SECONDS
        claims = await self.claim()
        serving = await self.directory.serving(claims)
        return [
            Lease(
                claim.delivery,
                subscription.endpoint,
                claim.claim_number,
                expires_at,
                directory_version=claim.directory_version,
            )
            for claim, subscription in zip(claims, serving, strict=True)
            if subscription is not None
        ]

    def states(self) -> list[str]:
        """The states of all deliveries, in the order they were made."""
        return [row.state.value for row in self.database.deliveries.values()]

    def _draw(self) -> float:
        """No jitter, unless ``draw`` says otherwise."""
        return 0.0 if self.draw is None else self.draw(-1.0, 1.0)
