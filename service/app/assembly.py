"""The composition root: the only place that connects the flow with the adapters."""

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
from service.adapters.postgres.engine import connect_pools
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import SystemClock, draw, new_uid
from service.api.ops import make_ops
from service.app.http import Parts, api_of
from service.app.process import Role, Service
from service.core.deliveries.lane import LaneLimits
from service.flow.directory import Directory
from service.flow.dispatch import ClaimLimits
from service.flow.intake import Intake
from service.flow.surroundings import Surroundings
from service.flow.worker import Worker, WorkerLimits
from service.ports.observer import Trouble
from service.settings import Settings

__all__ = ["Role", "Service", "assembled", "run_process"]


@asynccontextmanager
async def assembled(settings: Settings, role: Role, *, name: str) -> AsyncIterator[Service]:
    """Build the service for this process; close what was opened on exit."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set")
    metrics = MetricsObserver()
    observer = Observers(metrics, LogObserver(settings.log_attempts))
    around = Surroundings(SystemClock(), observer, draw, asyncio.sleep)
    secret_box = AesSecretBox(settings.secret_keys)
    async with AsyncExitStack() as stack:
        engine, small_batches = connect_pools(
            settings.database_url,
            connections_max=settings.database_connections_max,
            command_timeout_seconds=settings.database_timeout_seconds,
        )
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
        worker = source = None
        if role is Role.API:
            batch_max = settings.intake_batch_max
            intake = Intake(store, directory, None, new_uid, around, batch_max=batch_max, lease_seconds=lease_seconds)
        else:
            sender = HttpSender(settings.egress_policy, on_blocked=observer.tell, extra_ca_file=settings.extra_ca_file)
            await stack.enter_async_context(sender)
            source = _source(settings, observer)
            if source is not None:
                stack.push_async_callback(source.close)
            schedule, limits = settings.retry_schedule, _limits(settings)
            worker = Worker(store, store, directory, sender, source, new_uid, around, schedule=schedule, limits=limits)
            intake = worker.intake
        yield Service(role, around, engine, secret_box, metrics, intake, source, worker)


def _limits(settings: Settings) -> WorkerLimits:
    return WorkerLimits(
        lanes=LaneLimits(
            held_max=4 * settings.in_flight_max,
            lane_held_max=2 * settings.in_flight_max,
            lane_in_flight_max=settings.endpoint_in_flight_max,
            in_flight_max=settings.in_flight_max,
            stall_seconds=settings.endpoint_stall_seconds,
        ),
        claims=ClaimLimits(
            batch_max=settings.claim_batch_max,
            per_endpoint_max=settings.endpoint_claim_max,
            poll_seconds=settings.claim_poll_seconds,
            poll_idle_seconds=2 * settings.claim_poll_seconds,
        ),
        intake_batch_max=settings.intake_batch_max,
        settle_batch_max=settings.settle_batch_max,
        unsettled_max=settings.in_flight_max,
        lease_seconds=settings.lease_seconds,
        margin_seconds=settings.lease_margin_seconds,
        timeout_seconds=settings.attempt_timeout_seconds,
        rescue_seconds=min(5.0, settings.lease_seconds / 4),
        drain_seconds=settings.drain_seconds,
    )


def _source(settings: Settings, observer: Observers) -> RabbitSource | None:
    if settings.amqp_url is None:
        return None  # events arrive over HTTP only; /readyz says so
    return RabbitSource(
        settings.amqp_url,
        prefetch=settings.prefetch,
        topology=settings.topology,
        declare=settings.amqp_declare,
        on_trouble=lambda where, error: observer.tell(Trouble(where, error)),
        draw=draw,
    )


async def run_process(
    settings: Settings,
    role: Role,
    stop: asyncio.Event,
    *,
    name: str,
    ops_socket: Path | None = None,
    on_started: asyncio.Event | None = None,
) -> None:
    """Run one process: its HTTP servers and its loops. Under a supervisor, ``ops_socket`` replaces the ops port."""
    gc.freeze()  # what is loaded by now stays, so the collector need not scan it
    gc.set_threshold(20_000, 20, 20)  # the hot path creates many small values and no cycles
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
