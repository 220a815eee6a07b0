"""The composition root: the only place that connects the flow with the adapters."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from service.adapters.exit.authorised import TOKENS_KEPT_MAX
from service.adapters.exit.sender import HttpSender
from service.adapters.exit.sources import SourceAddresses
from service.adapters.exit.tunnel import EgressProxy, read_proxy
from service.adapters.observers.all import Observers
from service.adapters.observers.logs import LogObserver
from service.adapters.observers.metrics import MetricsObserver
from service.adapters.postgres.deliveries.fan_outs import PostgresFanOutStore
from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.expiry import PostgresExpiryStore
from service.adapters.postgres.endpoints.gates.failing import PostgresFailingStore
from service.adapters.postgres.engine import connect_pools, connection_name
from service.adapters.postgres.replays.steps import PostgresReplayStore
from service.adapters.postgres.retention import PostgresRetentionStore
from service.adapters.postgres.stats.counting import PostgresCountStore
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.secret_box import AesSecretBox
from service.adapters.system import SystemClock, draw, new_uid
from service.api.ops import make_ops
from service.app.descriptors import OPS_CONNECTIONS_MAX, api_connections_max, idle_connections_max
from service.app.http import Parts, api_of
from service.app.listening import listen
from service.app.process import Service
from service.app.role import Role
from service.core.deliveries.fairness.lanes import LaneLimits
from service.core.endpoints.gates.breaker import BreakerLimits
from service.flow.directory.directory import Directory
from service.flow.dispatch import ClaimLimits
from service.flow.intake.intake import Intake
from service.flow.surroundings import Surroundings
from service.flow.worker import Worker, WorkerLimits
from service.ports.observer import Observer, Trouble
from service.settings import Settings

__all__ = ["Service", "assembled", "parts_of", "run_process"]

API_IDLE_MAX = 8
"""Connections to receivers that wait in a process for another request of the API's own; and tokens that are kept."""
_PROXY_ANSWERS_WITHIN = 0.9  # of an attempt's timeout: before the attempt ends, since the dial is not in it


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
            name=connection_name(role.value, name),
        )
        for each in (engine, small_batches):
            stack.push_async_callback(each.dispose)
        lease_seconds = settings.lease_seconds
        store = PostgresDeliveryStore(
            engine,
            worker_name=name,
            lease_seconds=lease_seconds,
            small_batches=small_batches,
            breaker=BreakerLimits(settings.breaker_failures, settings.breaker_open_seconds),
        )
        directory = Directory(
            PostgresSubscriptionStore(engine), secret_box, schedule=settings.retry_schedule, slices=around.slices
        )
        worker = source = None
        if role is Role.API:
            batch_max = settings.intake_batch_max
            intake = Intake(store, directory, None, new_uid, around, batch_max=batch_max, lease_seconds=lease_seconds)
        else:
            idle_max = idle_connections_max(settings)
            sender = await stack.enter_async_context(_sender(settings, observer, idle_max=idle_max))
            source = _source(settings, observer)
            if source is not None:
                stack.push_async_callback(source.close)
            worker = Worker(
                store,
                PostgresRetentionStore(
                    engine,
                    retention_days=settings.retention_days,
                    audit_retention_days=settings.audit_retention_days,
                ),
                directory,
                sender,
                source,
                new_uid,
                around,
                counts=PostgresCountStore(engine),
                fan_outs=PostgresFanOutStore(engine),
                failing=PostgresFailingStore(engine),
                expiry=PostgresExpiryStore(engine),
                replays=PostgresReplayStore(engine, retention_days=settings.retention_days),
                schedule=settings.retry_schedule,
                limits=_limits(settings),
            )
            intake = worker.intake
        yield Service(role, around, engine, secret_box, metrics, intake, source, worker)


def _sender(
    settings: Settings, observer: Observer, *, idle_max: int, auths_kept_max: int = TOKENS_KEPT_MAX
) -> HttpSender:
    """The guarded exit, the same for deliveries and for challenges."""
    return HttpSender(
        settings.egress_policy,
        on_blocked=observer.tell,
        extra_ca_file=settings.extra_ca_file,
        idle_max=idle_max,
        auths_kept_max=auths_kept_max,
        sources=SourceAddresses(settings.source_addresses),
        proxy=_proxy(settings),
    )


def _proxy(settings: Settings) -> EgressProxy | None:
    if not settings.egress_proxy:
        return None
    answer_seconds = _PROXY_ANSWERS_WITHIN * settings.attempt_timeout_seconds
    return read_proxy(settings.egress_proxy, answer_seconds=answer_seconds)


def _limits(settings: Settings) -> WorkerLimits:
    return WorkerLimits(
        lanes=LaneLimits(
            held_max=4 * settings.in_flight_max,
            lane_held_max=2 * settings.in_flight_max,
            lane_in_flight_max=settings.endpoint_in_flight_max,
            in_flight_max=settings.in_flight_max,
            stall_seconds=settings.endpoint_stall_seconds,
            breaker_failures=settings.breaker_failures,
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
        disable_after_seconds=timedelta(days=settings.disable_after_days).total_seconds(),
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


async def parts_of(settings: Settings, service: Service, stack: AsyncExitStack) -> Parts:
    """What the API depends on, with an exit of its own that ``stack`` closes."""
    around = service.around
    # For challenges and rehearsals, which are few; those show whether a receiver keeps connections alive.
    own = _sender(settings, around.observer, idle_max=API_IDLE_MAX, auths_kept_max=API_IDLE_MAX)
    sender = await stack.enter_async_context(own)
    return Parts(
        settings, service.engine, service.secret_box, service.intake, around.observer, around.clock.now, sender
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
    connections_max = api_connections_max(settings, delivers=role is not Role.API)
    async with assembled(settings, role, name=name) as service, AsyncExitStack() as stack:
        ops = make_ops(service.readiness, service.metrics)
        await listen(
            stack,
            ops,
            settings.ops_host,
            settings.ops_port,
            connections_max=OPS_CONNECTIONS_MAX,
            socket=ops_socket,
        )
        if role is not Role.WORKER:
            api = api_of(await parts_of(settings, service, stack))
            await listen(
                stack,
                api,
                settings.http_host,
                settings.http_port,
                connections_max=connections_max,
                is_shared=ops_socket is not None,
            )
        if on_started is not None:
            on_started.set()
        await service.run(stop)
