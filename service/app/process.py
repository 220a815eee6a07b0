"""One process of the service while it runs: its loops, its readiness, its drain."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.metrics import MetricsObserver
from service.adapters.postgres.engine import clock_skew_seconds, in_use
from service.adapters.postgres.schema import is_migrated
from service.adapters.rabbitmq.source import RabbitSource
from service.flow.dispatch import Dispatch
from service.flow.intake import Intake
from service.flow.settle import FLUSHERS, Settle
from service.flow.surroundings import Surroundings
from service.flow.upkeep import Upkeep
from service.ports.errors import UnavailableError
from service.ports.secrets import SecretBox

GAUGES_SECONDS = 5.0
DATABASE_CHECK_SECONDS_MAX = 2.0
"""Well below what whoever asks will wait: a database that does not answer must be named, not silently waited for."""


class Role(StrEnum):
    """What a process does: everything, the HTTP face alone, or the delivering alone."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


@dataclass(slots=True)
class Service:
    """One process of the service, assembled but not running."""

    role: Role
    around: Surroundings
    engine: AsyncEngine
    secret_box: SecretBox
    metrics: MetricsObserver
    settle: Settle
    intake: Intake
    source: RabbitSource | None
    dispatch: Dispatch | None
    upkeep: Upkeep | None
    drain_seconds: float
    is_draining: bool = False

    async def readiness(self) -> Mapping[str, tuple[bool, str]]:
        """Each thing this process cannot do without: whether it is there, in words."""
        checks: dict[str, tuple[bool, str]] = {}
        try:
            async with asyncio.timeout(DATABASE_CHECK_SECONDS_MAX):
                is_at_head = await is_migrated(self.engine)
            checks["database"] = (True, "reachable")
            checks["migrations"] = (is_at_head, "at head" if is_at_head else "run: posthorn migrate")
        except UnavailableError as error:
            checks["database"] = (False, str(error))
        except TimeoutError:
            checks["database"] = (False, f"no answer within {DATABASE_CHECK_SECONDS_MAX:g} s")
        if self.source is None:
            why = "not this process's part" if self.role is Role.API else "not configured: events arrive over HTTP only"
            checks["broker"] = (True, why)
        else:
            connected = self.source.is_connected
            checks["broker"] = (connected, "connected" if connected else "not connected; trying again")
        checks["draining"] = (not self.is_draining, "yes" if self.is_draining else "no")
        return checks

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then drain. Raises what any of its loops raised: that is a bug, and ends the process."""
        async with AsyncExitStack() as stack:
            loops = self._loops()
            stopping = asyncio.create_task(stop.wait())
            tasks = {asyncio.create_task(loop, name=name): name for name, loop in loops.items()}
            stack.push_async_callback(_cancel, [*tasks, stopping])
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._drain({name: task for task, name in tasks.items()})

    def _loops(self) -> dict[str, Coroutine[None, None, None]]:
        loops = {f"settle-{number}": self.settle.run() for number in range(FLUSHERS)}
        loops["gauges"] = self._measure()
        if self.source is not None:
            loops |= {"source": self.source.run(), "intake": self.intake.run(self.source)}
        if self.dispatch is not None and self.upkeep is not None:
            loops |= {
                "dispatch": self.dispatch.run(),
                "rescue": self.upkeep.run_rescue(),
                "backlog": self.upkeep.run_backlog(),
                "retention": self.upkeep.run_retention(),
            }
        return loops

    async def _measure(self) -> None:
        """Keep the gauges that no event moves."""
        while True:
            if self.source is not None:
                self.metrics.broker_connected(self.source.is_connected)
            self.metrics.database_pool_in_use.set(in_use(self.engine))
            with suppress(UnavailableError):
                self.metrics.clock_skew_seconds.set(await clock_skew_seconds(self.engine, self.around.clock))
            await asyncio.sleep(GAUGES_SECONDS)

    async def _drain(self, tasks: Mapping[str, asyncio.Task[None]]) -> None:
        self.is_draining = True
        self.intake.lease_no_more()
        ends_at = self.around.clock.monotonic() + self.drain_seconds
        await _cancel([tasks[name] for name in ("rescue", "backlog", "retention") if name in tasks])
        try:
            async with asyncio.timeout(self.drain_seconds):
                if self.source is not None:
                    await self.source.stop()
                    await asyncio.wait([tasks["intake"]])  # its last batch is committed and acked
                if self.dispatch is not None:
                    self.dispatch.stop()
                    await asyncio.wait([tasks["dispatch"]])  # its last claim is in the lanes
                    left = ends_at - self.around.clock.monotonic()
                    await self.dispatch.drain(left - min(2.0, left / 4))  # a share is kept for the last commits
        except TimeoutError:
            # What is not acked is sent again, what is leased is rescued: late, but nothing is lost.
            self.around.observer.trouble("drain", TimeoutError(f"not done within {self.drain_seconds:g} s"))


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
