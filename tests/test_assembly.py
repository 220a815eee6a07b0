"""What bounds a process comes from its settings."""

from sqlalchemy import QueuePool

from service.app.assembly import Role, assembled
from service.core.deliveries.lane import LaneLimits
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
        assert service.worker.lanes.limits == LaneLimits(40, 20, 3, 10, 2.5)
        assert service.worker.dispatch._claim_limits == ClaimLimits(20, 7, 1.5, 3.0)
