"""What bounds a process comes from its settings."""

import asyncio
from time import monotonic

import asyncpg
from sqlalchemy import QueuePool, make_url

from service.adapters.exit.sender import HttpSender
from service.adapters.exit.tunnel import EgressProxy
from service.app.assembly import assembled
from service.app.process import LAG_SECONDS, watch_loop
from service.app.role import Role
from service.core.deliveries.fairness.lanes import LaneLimits
from service.flow.dispatch import ClaimLimits
from service.settings import load_settings

NOWHERE = {"DATABASE_URL": "postgresql://u@127.0.0.1:9/d", "SECRET_KEYS": f"k1:{'A' * 43}="}


async def test_a_worker_is_bounded_by_its_settings() -> None:
    changed = {
        "POSTHORN_DATABASE_CONNECTIONS_MAX": "6",
        "POSTHORN_IN_FLIGHT_MAX": "10",
        "POSTHORN_ENDPOINT_IN_FLIGHT_MAX": "3",
        "POSTHORN_ENDPOINT_STALL_SECONDS": "2.5",
        "POSTHORN_CLAIM_BATCH_MAX": "20",
        "POSTHORN_ENDPOINT_CLAIM_MAX": "7",
        "POSTHORN_CLAIM_POLL_SECONDS": "1.5",
    }
    async with assembled(load_settings(NOWHERE | changed), Role.WORKER, name="w") as service:
        pool = service.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.size() == 4
        assert service.worker is not None
        assert service.worker.lanes.limits == LaneLimits(40, 20, 3, 10, 2.5, breaker_failures=10)
        assert service.worker.dispatch._claim_limits == ClaimLimits(20, 7, 1.5, 3.0)


async def test_a_silent_proxy_is_to_blame_before_an_attempt_ends() -> None:
    changed = {"POSTHORN_EGRESS_PROXY": "http://127.0.0.1:9", "POSTHORN_ATTEMPT_TIMEOUT_SECONDS": "10"}
    async with assembled(load_settings(NOWHERE | changed), Role.WORKER, name="w") as service:
        assert service.worker is not None
        sender = service.worker.deliver.sender
        assert isinstance(sender, HttpSender)
        assert sender._proxy == EgressProxy("127.0.0.1", 9, is_tls=False, answer_seconds=9.0)


async def test_a_database_that_takes_no_writes_is_not_ready(database_url: str, owner_database_url: str) -> None:
    name = make_url(database_url).database
    settings = load_settings(NOWHERE | {"DATABASE_URL": database_url})
    connection = await asyncpg.connect(owner_database_url)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        async with assembled(settings, Role.API, name="w") as service:
            check = (await service.readiness())["database"]
            assert (check.is_well, check.detail.partition(":")[0]) == (False, "it is read-only")
    finally:
        await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await connection.close()
    async with assembled(settings, Role.API, name="w") as service:
        assert (await service.readiness())["database"].is_well


async def test_the_loops_lag_is_seen() -> None:
    seen: list[float] = []
    has_seen = asyncio.Event()

    def observe(seconds: float) -> None:
        seen.append(seconds)
        has_seen.set()

    watching = asyncio.create_task(watch_loop(observe))
    await asyncio.sleep(0)  # now it waits for its first measurement
    until = monotonic() + LAG_SECONDS + 0.2
    while monotonic() < until:
        pass
    async with asyncio.timeout(60):
        await has_seen.wait()
    watching.cancel()
    assert seen[0] >= 0.19
