"""The worker: the verbs wired together, the loops they run in, and the order in which they stop."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from service.core.deliveries.fairness.lanes import LaneLimits, Lanes
from service.core.endpoints.gates.failing import DisablingPolicy
from service.core.endpoints.retry_schedule import RetrySchedule
from service.flow.attempts import Attempts
from service.flow.deliver import Deliver
from service.flow.directory.directory import Directory
from service.flow.dispatch import ClaimLimits, Dispatch
from service.flow.fan_out import FanOut
from service.flow.intake.intake import Intake
from service.flow.replay import Replay
from service.flow.settle import FLUSHERS, Settle
from service.flow.surroundings import Surroundings
from service.flow.suspects import Suspects
from service.flow.upkeep.counting import Counting
from service.flow.upkeep.expiry import EndpointExpiries
from service.flow.upkeep.failing import Failing
from service.flow.upkeep.retention import Retention
from service.flow.upkeep.upkeep import Upkeep
from service.ports.counts import CountStore
from service.ports.exit import Sender
from service.ports.expiry import ExpiryStore
from service.ports.failing import FailingStore
from service.ports.observer import Trouble
from service.ports.retention import RetentionStore
from service.ports.source import EventSource
from service.ports.store import DeliveryStore, FanOutStore, ReplayStore
from service.ports.surroundings import NewUid

COMMIT_SECONDS_MAX = 2.0  # the part of a drain that is reserved for the last commits


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Every bound of a worker.

    ``timeout_seconds`` bounds an attempt whose endpoint has no timeout of its own; ``margin_seconds`` of each lease are
    reserved for the commit. ``unsettled_max`` replies may wait for their commit before sending slows down.
    """

    lanes: LaneLimits
    intake_batch_max: int
    unsettled_max: int
    lease_seconds: float
    margin_seconds: float
    timeout_seconds: float
    rescue_seconds: float
    drain_seconds: float
    claims: ClaimLimits = ClaimLimits()
    settle_batch_max: int = 1000
    disable_after_seconds: float = 0.0


class Worker:
    """Takes in events and delivers them; any number of workers may share a broker and a database."""

    def __init__(
        self,
        store: DeliveryStore,
        retention: RetentionStore,
        directory: Directory,
        sender: Sender,
        source: EventSource | None,
        new_uid: NewUid,
        around: Surroundings,
        *,
        counts: CountStore,
        fan_outs: FanOutStore,
        failing: FailingStore,
        expiry: ExpiryStore,
        replays: ReplayStore,
        schedule: RetrySchedule,
        limits: WorkerLimits,
    ) -> None:
        """``source`` is None if events arrive over HTTP only."""
        self._source = source
        self._around = around
        self._drain_seconds = limits.drain_seconds
        self.is_draining = False
        self.lanes = Lanes(limits.lanes)
        self.deliver = Deliver(sender, schedule, around, limits.timeout_seconds, limits.margin_seconds)
        self.settle = Settle(store, around, batch_max=limits.settle_batch_max, unsettled_max=limits.unsettled_max)
        self.suspects = Suspects(store, self.deliver, self.settle, around)
        self.dispatch = Dispatch(
            store,
            directory,
            Attempts(store, self.deliver, self.suspects, around),
            self.settle,
            self.lanes,
            around,
            claim_limits=limits.claims,
            lease_seconds=limits.lease_seconds,
        )
        self.fan_out = FanOut(fan_outs, self.dispatch, around)
        self.replay = Replay(replays, self.dispatch, around)
        self.intake = Intake(
            store,
            directory,
            self.dispatch,
            new_uid,
            around,
            batch_max=limits.intake_batch_max,
            lease_seconds=limits.lease_seconds,
            on_deferred=self.fan_out.wake,
        )
        self.upkeep = Upkeep(store, self.settle, directory, schedule, around, rescue_seconds=limits.rescue_seconds)
        self.retention = Retention(retention, around)
        self.counting = Counting(counts, around)
        self.failing = Failing(failing, DisablingPolicy(limits.disable_after_seconds), around)
        self.expiries = EndpointExpiries(expiry, around)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then drain. An error in any loop is a bug: it ends the worker and is raised here."""
        tasks = {name: asyncio.create_task(loop, name=name) for name, loop in self._loops().items()}
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait((*tasks.values(), stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._drain(tasks)
        finally:
            await _cancel((*tasks.values(), stopping))
            await self.dispatch.abandon()

    def _loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        loops = {f"settle-{number}": self.settle.run() for number in range(FLUSHERS)}
        if self._source is not None:
            loops |= {"source": self._source.run(), "intake": self.intake.run(self._source)}
        return loops | {
            "fan_out": self.fan_out.run(),
            "replay": self.replay.run(),
            "dispatch": self.dispatch.run(),
            "limited": self.dispatch.run_limited(),
            "rescue": self.upkeep.run_rescue(),
            "backlog": self.upkeep.run_backlog(),
            "retention": self.retention.run(),
            "vacuum": self.retention.run_vacuum(),
            "failing": self.failing.run(),
            "counting": self.counting.run(),
            "expiry": self.expiries.run(),
        }

    async def _drain(self, tasks: Mapping[str, asyncio.Task[None]]) -> None:
        """Take nothing new, give back at once the leases not yet begun, and finish the attempts in flight.

        Dying on any line of this loses nothing: unacked messages are sent again, leased deliveries are rescued. So a
        step that takes too long is reported and abandoned.
        """
        self.is_draining = True
        ends_at = self._around.clock.monotonic() + self._drain_seconds
        self.dispatch.stop()  # before anything that may take long: whatever then hangs, other workers have these leases
        background = ("fan_out", "replay", "rescue", "backlog", "retention", "vacuum", "failing", "counting", "expiry")
        await _cancel([tasks[name] for name in background])
        if self._source is not None:  # at most half of the time: the rest belongs to the attempts in flight
            stopped = self._stop_intake(self._source, tasks["intake"])
            await self._at_most("stopping the source", self._drain_seconds / 2, stopped)
        left_seconds = ends_at - self._around.clock.monotonic()
        emptied = self._finish([tasks["dispatch"], tasks["limited"]], left_seconds)
        await self._at_most("emptying the lanes", left_seconds, emptied)

    async def _stop_intake(self, source: EventSource, intake: asyncio.Task[None]) -> None:
        await source.stop()
        await asyncio.wait([intake])  # its last batch is committed and acked

    async def _finish(self, claiming: Collection[asyncio.Task[None]], left_seconds: float) -> None:
        await self.dispatch.finish(left_seconds - min(COMMIT_SECONDS_MAX, left_seconds / 4))
        await asyncio.wait(claiming)  # their last claims are given back
        await self.settle.drained()

    async def _at_most(self, what: str, seconds: float, step: Coroutine[Any, Any, None]) -> None:
        try:
            await self._around.within(what, seconds, step)
        except TimeoutError as error:
            self._around.observer.tell(Trouble("drain", error))


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
