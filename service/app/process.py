"""One process of the service while it runs: its role, its readiness, its gauges."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.metrics import MetricsObserver
from service.adapters.postgres.engine import clock_skew_seconds, in_use, takes_writes
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.schema import is_migrated
from service.adapters.rabbitmq.source import RabbitSource
from service.api.ops import Check
from service.app.role import Role
from service.flow.intake.intake import Intake
from service.flow.surroundings import Surroundings
from service.flow.upkeep.expiring_keys import ExpiringKeys
from service.flow.worker import Worker
from service.ports.errors import UnavailableError
from service.ports.secrets import SecretBox

GAUGES_SECONDS = 5.0
LAG_SECONDS = 0.05
DATABASE_CHECK_SECONDS_MAX = 2.0
"""Well below the timeout of probes, so that /readyz can name a database that does not answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the service, assembled but not running. ``worker`` is None if it does not deliver."""

    role: Role
    around: Surroundings
    engine: AsyncEngine
    secret_box: SecretBox
    metrics: MetricsObserver
    intake: Intake
    source: RabbitSource | None
    worker: Worker | None

    async def readiness(self) -> Mapping[str, Check]:
        """Check what this process uses, by name."""
        checks: dict[str, Check] = {}
        try:
            async with asyncio.timeout(DATABASE_CHECK_SECONDS_MAX):
                is_at_head, is_writable = await is_migrated(self.engine), await takes_writes(self.engine)
            detail = "reachable" if is_writable else "it is read-only: make it take writes, or correct DATABASE_URL"
            checks["database"] = Check(is_writable, detail)
            checks["migrations"] = Check(is_at_head, "at head" if is_at_head else "run: posthorn migrate")
        except UnavailableError as error:
            checks["database"] = Check(is_well=False, detail=str(error))
        except TimeoutError:
            checks["database"] = Check(is_well=False, detail=f"no answer within {DATABASE_CHECK_SECONDS_MAX:g} s")
        checks["broker"] = self._broker_check()
        is_draining = self.worker is not None and self.worker.is_draining
        checks["draining"] = Check(not is_draining, "yes" if is_draining else "no")
        return checks

    def _broker_check(self) -> Check:
        """Only a process that does nothing but deliver needs the broker: the API takes events without it."""
        if self.role is Role.API:
            return Check(is_well=True, detail="not used by this process", is_needed=False)
        if self.source is None:
            return Check(is_well=True, detail="not configured: events arrive over HTTP only", is_needed=False)
        connected = self.source.is_connected
        detail = "connected" if connected else "not connected; trying again"
        return Check(connected, detail, is_needed=self.role is Role.WORKER)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then drain. An exception in a loop is a bug: it is raised here and ends the process."""
        loops = [self._work(stop), self._measure(), watch_loop(self.metrics.loop_lag_seconds.observe)]
        if self.role is not Role.WORKER:
            loops.append(ExpiringKeys(KeyStore(self.engine), self.around).run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, stop: asyncio.Event) -> None:
        if self.worker is not None:
            await self.worker.run(stop)
        else:
            await stop.wait()

    async def _measure(self) -> None:
        """Update the gauges that no event changes."""
        while True:
            if self.source is not None:
                self.metrics.broker_connected(self.source.is_connected)
            self.metrics.database_pool_in_use.set(in_use(self.engine))
            with suppress(UnavailableError):
                self.metrics.clock_skew_seconds.set(await clock_skew_seconds(self.engine, self.around.clock))
            await asyncio.sleep(GAUGES_SECONDS)


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Measure how late the event loop comes to what is due; all that this process does waits that long."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        observe(max(0.0, loop.time() - due_at))
