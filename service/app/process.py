"""One process of the service while it runs: its role, its readiness, its gauges."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.observers.metrics import MetricsObserver
from service.adapters.postgres.engine import clock_skew_seconds, in_use
from service.adapters.postgres.schema import is_migrated
from service.adapters.rabbitmq.source import RabbitSource
from service.flow.intake import Intake
from service.flow.surroundings import Surroundings
from service.flow.worker import Worker
from service.ports.errors import UnavailableError
from service.ports.secrets import SecretBox

GAUGES_SECONDS = 5.0
DATABASE_CHECK_SECONDS_MAX = 2.0
"""Well below the timeout of probes, so that /readyz can name a database that does not answer."""


class Role(StrEnum):
    """What a process does: everything, only the HTTP API, or only delivery."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


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

    async def readiness(self) -> Mapping[str, tuple[bool, str]]:
        """Check what this process needs: maps each name to whether it is well, and a detail."""
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
            why = (
                "not used by this process" if self.role is Role.API else "not configured: events arrive over HTTP only"
            )
            checks["broker"] = (True, why)
        else:
            connected = self.source.is_connected
            checks["broker"] = (connected, "connected" if connected else "not connected; trying again")
        is_draining = self.worker is not None and self.worker.is_draining
        checks["draining"] = (not is_draining, "yes" if is_draining else "no")
        return checks

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then drain. An exception in a loop is a bug: it is raised here and ends the process."""
        gauges = asyncio.create_task(self._measure())
        work = asyncio.create_task(self._work(stop))
        try:
            done, _ = await asyncio.wait((gauges, work), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (gauges, work):
                task.cancel()
            await asyncio.gather(gauges, work, return_exceptions=True)

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
