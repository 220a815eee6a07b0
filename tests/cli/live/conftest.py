"""A service for each module, an organization for each test, and a program to forward to."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from service.adapters.postgres.engine import connect
from service.embedded.amqp import LoopbackBroker
from tests.cli.command import free_port
from tests.cli.conftest import SECRET_KEYS
from tests.cli.live.rig import App, Session, Town, app, town_on


@pytest.fixture(scope="module")
async def town(migrated_database_url: str) -> AsyncIterator[Town]:
    engine = connect(migrated_database_url)
    async with LoopbackBroker() as broker:
        environment = {
            "DATABASE_URL": migrated_database_url,
            "AMQP_URL": broker.url,
            "SECRET_KEYS": SECRET_KEYS,
            "POSTHORN_HTTP_PORT": str(free_port()),
            "POSTHORN_OPS_PORT": str(free_port()),
            "POSTHORN_ALLOW_HTTP": "true",
            "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
            "POSTHORN_LOG_FORMAT": "json",
            "POSTHORN_RATE_LIMIT_PER_HOUR": "1000000",
        }
        async with town_on(environment, engine) as town:
            yield town
    await engine.dispose()


@pytest.fixture
async def local() -> AsyncIterator[App]:
    async with app() as made:
        yield made


@pytest.fixture
async def session(town: Town, bare_environment: dict[str, str], tmp_path: Path) -> Session:
    organization_id = f"org_{uuid4().hex[:12]}"
    key, key_id = await town.key(organization_id)
    return Session(town, organization_id, key, key_id, bare_environment | {"XDG_CONFIG_HOME": str(tmp_path)})
