"""The composition root: the only place where the flow meets the adapters. Starts, drains and stops one process."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.http_sender import HttpSender
from service.adapters.logs import LogObserver
from service.adapters.metrics import MetricsObserver
from service.adapters.observers import Observers
from service.adapters.postgres import (
    Administration,
    PostgresDeliveryStore,
    PostgresSubscriptionStore,
    clock_skew_seconds,
    connect,
    in_use,
    is_migrated,
)
from service.adapters.rabbitmq import RabbitSource
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import SystemClock, draw, new_uid
from service.api import make_api, make_ops
from service.core.lane import LaneLimits, Lanes
from service.flow.deliver import Deliver
from service.flow.directory import Directory
from service.flow.dispatch import ClaimLimits, Dispatch
from service.flow.intake import Intake
from service.flow.settle import FLUSHERS, Settle
from service.flow.surroundings import Surroundings
from service.flow.upkeep import Upkeep
from service.ports import Clock, Observer, UnavailableError
from service.settings import Settings

GAUGES_SECONDS = 5.0


class Role(StrEnum):
    """What a process does: everything, the HTTP face alone, or the delivering alone."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


@dataclass(slots=True)
class Service:
    """One process of the service, assembled but not running."""

    settings: Settings
    role: Role
    engine: AsyncEngine
    metrics: MetricsObserver
    observer: Observer
    source: RabbitSource | None
    intake: Intake
    settle: Settle
    dispatch: Dispatch | None
    upkeep: Upkeep | None
    clock: Clock
    administration: Administration
    is_draining: bool = False

    async def readiness(self) -> Mapping[str, tuple[bool, str]]:
        """Each thing this process cannot do without: whether it is there, in words."""
        checks: dict[str, tuple[bool, str]] = {}
        try:
            is_at_head = await is_migrated(self.engine)
            checks["database"] = (True, "reachable")
            checks["migrations"] = (is_at_head, "at head" if is_at_head else "run: posthorn migrate")
        except UnavailableError as error:
            checks["database"] = (False, str(error))
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
                self.metrics.clock_skew_seconds.set(await clock_skew_seconds(self.engine, self.clock))
            await asyncio.sleep(GAUGES_SECONDS)

    async def _drain(self, tasks: Mapping[str, asyncio.Task[None]]) -> None:
        self.is_draining = True
        await _cancel([tasks[name] for name in ("dispatch", "rescue", "backlog", "retention") if name in tasks])
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                if self.source is not None:
                    await self.source.stop()
                    await asyncio.wait([tasks["intake"]])  # its last batch is committed and acked
                if self.dispatch is not None:
                    await self.dispatch.drain(self.settings.drain_seconds)
        except TimeoutError:
            # What is not acked is sent again, what is leased is rescued: late, but nothing is lost.
            self.observer.trouble("drain", TimeoutError(f"not done within {self.settings.drain_seconds} s"))


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def assembled(settings: Settings, role: Role, *, name: str) -> AsyncIterator[Service]:
    """Build the service for this process; closes what it opened."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set")
    clock, metrics = SystemClock(), MetricsObserver()
    observer = Observers(metrics, LogObserver(settings.log_attempts))
    around = Surroundings(clock, observer, draw, asyncio.sleep)
    secret_box = AesSecretBox(settings.opened_secret_keys())
    delivers = role is not Role.API
    async with AsyncExitStack() as stack:
        engine = connect(settings.database_url)
        stack.push_async_callback(engine.dispose)
        store = PostgresDeliveryStore(
            engine, worker_name=name, lease_seconds=settings.lease_seconds, retention_days=settings.retention_days
        )
        directory = Directory(PostgresSubscriptionStore(engine), secret_box)
        settle = Settle(store, around, batch_max=1000, waiting_max=4 * settings.in_flight_max)
        dispatch = upkeep = None
        if delivers:
            sender = await stack.enter_async_context(
                HttpSender(
                    settings.egress_policy,
                    on_blocked=lambda _where, verdict: metrics.egress_blocked(verdict),
                    extra_ca_file=settings.extra_ca_file,
                )
            )
            deliver = Deliver(
                sender,
                settings.retry_schedule,
                around,
                settings.attempt_timeout_seconds,
                settings.lease_margin_seconds,
            )
            lanes = Lanes(
                LaneLimits(
                    held_max=4 * settings.in_flight_max,
                    lane_held_max=2 * settings.in_flight_max,
                    lane_in_flight_max=settings.endpoint_in_flight_max,
                    in_flight_max=settings.in_flight_max,
                )
            )
            dispatch = Dispatch(
                store,
                directory,
                deliver,
                settle,
                lanes,
                around,
                claim_limits=ClaimLimits(),
                lease_seconds=settings.lease_seconds,
            )
            upkeep = Upkeep(
                store,
                store,
                settle,
                settings.retry_schedule,
                around,
                rescue_seconds=min(5.0, settings.lease_seconds / 4),
            )
        source = None
        if delivers and settings.amqp_url is not None:
            source = RabbitSource(
                settings.amqp_url,
                prefetch=settings.prefetch,
                topology=settings.topology,
                declare=settings.amqp_declare,
                on_trouble=observer.trouble,
                draw=draw,
            )
            stack.push_async_callback(source.close)
        intake = Intake(
            store,
            directory,
            dispatch,
            new_uid,
            around,
            batch_max=settings.intake_batch_max,
            lease_seconds=settings.lease_seconds,
        )
        administration = Administration(engine, secret_box)
        yield Service(
            settings, role, engine, metrics, observer, source, intake, settle, dispatch, upkeep, clock, administration
        )


async def serve(
    settings: Settings,
    role: Role,
    stop: asyncio.Event,
    *,
    name: str,
    ops_socket: Path | None = None,
    on_started: asyncio.Event | None = None,
) -> None:
    """Run one process: its HTTP faces and its loops. ``ops_socket`` replaces the ops port where a supervisor asks."""
    gc.freeze()  # what is loaded by now stays: the collector need not walk it again and again
    gc.set_threshold(20_000, 20, 20)  # the hot path makes many small values and no cycles
    async with assembled(settings, role, name=name) as service, AsyncExitStack() as stack:
        ops = make_ops(service.readiness, service.metrics)
        await _listen(stack, ops, settings.ops_host, settings.ops_port, ops_socket)
        if role is not Role.WORKER:
            api = make_api(service.intake.take_in, service.administration, service.observer)
            await _listen(stack, api, settings.http_host, settings.http_port, is_shared=ops_socket is not None)
        if on_started is not None:
            on_started.set()
        await service.run(stop)


async def _listen(
    stack: AsyncExitStack,
    application: web.Application,
    host: str,
    port: int,
    socket: Path | None = None,
    *,
    is_shared: bool = False,
) -> None:
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = (
        web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, host, port, reuse_port=is_shared or None)
    )
    await site.start()
