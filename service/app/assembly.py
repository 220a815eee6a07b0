"""The composition root: the only place where the flow meets the adapters."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from service.adapters.exit.sender import HttpSender
from service.adapters.observers.all import Observers
from service.adapters.observers.logs import LogObserver
from service.adapters.observers.metrics import MetricsObserver
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.engine import connect
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import SystemClock, draw, new_uid
from service.api.ops import make_ops
from service.app.http import Parts, api_of
from service.app.process import Role, Service
from service.core.deliveries.lane import LaneLimits, Lanes
from service.flow.deliver import Deliver
from service.flow.directory import Directory
from service.flow.dispatch import ClaimLimits, Dispatch
from service.flow.intake import Intake
from service.flow.settle import Settle
from service.flow.surroundings import Surroundings
from service.flow.upkeep import Upkeep
from service.settings import Settings

SETTLE_BATCH_MAX = 1000

__all__ = ["Role", "Service", "assembled", "serve"]


@asynccontextmanager
async def assembled(settings: Settings, role: Role, *, name: str) -> AsyncIterator[Service]:
    """Build the service for this process; closes what it opened."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set")
    metrics = MetricsObserver()
    observer = Observers(metrics, LogObserver(settings.log_attempts))
    around = Surroundings(SystemClock(), observer, draw, asyncio.sleep)
    secret_box = AesSecretBox(settings.opened_secret_keys())
    async with AsyncExitStack() as stack:
        engine = connect(settings.database_url)
        small_batches = connect(settings.database_url, pool_size=4, for_small_batches=True)
        for each in (engine, small_batches):
            stack.push_async_callback(each.dispose)
        lease_seconds = settings.lease_seconds
        store = PostgresDeliveryStore(
            engine,
            worker_name=name,
            lease_seconds=lease_seconds,
            retention_days=settings.retention_days,
            small_batches=small_batches,
        )
        directory = Directory(PostgresSubscriptionStore(engine), secret_box, schedule=settings.retry_schedule)
        settle = Settle(store, around, batch_max=SETTLE_BATCH_MAX, unsettled_max=settings.in_flight_max)
        dispatch = upkeep = source = None
        if role is not Role.API:
            sender = HttpSender(
                settings.egress_policy,
                on_blocked=lambda _where, verdict: metrics.egress_blocked(verdict),
                extra_ca_file=settings.extra_ca_file,
            )
            dispatch = _dispatch(settings, store, directory, settle, await stack.enter_async_context(sender), around)
            rescue_seconds = min(5.0, lease_seconds / 4)
            schedule = settings.retry_schedule
            upkeep = Upkeep(store, store, settle, directory, schedule, around, rescue_seconds=rescue_seconds)
            source = _source(settings, observer)
        if source is not None:
            stack.push_async_callback(source.close)
        batch_max = settings.intake_batch_max
        intake = Intake(store, directory, dispatch, new_uid, around, batch_max=batch_max, lease_seconds=lease_seconds)
        yield Service(
            role=role,
            around=around,
            engine=engine,
            secret_box=secret_box,
            metrics=metrics,
            settle=settle,
            intake=intake,
            source=source,
            dispatch=dispatch,
            upkeep=upkeep,
            drain_seconds=settings.drain_seconds,
        )


def _dispatch(
    settings: Settings,
    store: PostgresDeliveryStore,
    directory: Directory,
    settle: Settle,
    sender: HttpSender,
    around: Surroundings,
) -> Dispatch:
    deliver = Deliver(
        sender, settings.retry_schedule, around, settings.attempt_timeout_seconds, settings.lease_margin_seconds
    )
    limits = LaneLimits(
        held_max=4 * settings.in_flight_max,
        lane_held_max=2 * settings.in_flight_max,
        lane_in_flight_max=settings.endpoint_in_flight_max,
        in_flight_max=settings.in_flight_max,
    )
    return Dispatch(
        store,
        directory,
        deliver,
        settle,
        Lanes(limits),
        around,
        claim_limits=ClaimLimits(),
        lease_seconds=settings.lease_seconds,
    )


def _source(settings: Settings, observer: Observers) -> RabbitSource | None:
    if settings.amqp_url is None:
        return None  # events arrive over HTTP only; /readyz says so
    return RabbitSource(
        settings.amqp_url,
        prefetch=settings.prefetch,
        topology=settings.topology,
        declare=settings.amqp_declare,
        on_trouble=observer.trouble,
        draw=draw,
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
            around = service.around
            api = api_of(
                Parts(settings, service.engine, service.secret_box, service.intake, around.observer, around.clock.now)
            )
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
