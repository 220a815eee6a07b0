"""Working settings for the commands, and the commands."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiormq
import pytest

from tests.cli.command import CommandServer, Finished, Run, free_port
from tests.cli.reach import Api, api_on

SECRET_KEYS = "k1:" + base64.b64encode(bytes(range(32))).decode()  # as the API in tests/api has it
OURS = ("POSTHORN_", "DATABASE_URL", "AMQP_", "SECRET_KEYS", "PUBLIC_URL", "PROMETHEUS_")


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """No setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


@pytest.fixture
async def amqp_prefix() -> AsyncIterator[str]:
    """Names of this test's own on the broker; on a real one, nothing stays behind."""
    prefix = f"posthorn-cli-{uuid4().hex[:12]}"
    yield prefix
    url = os.environ.get("TEST_AMQP_URL")
    if url:
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        for queue in ("intake", "parked"):
            await channel.queue_delete(f"{prefix}.{queue}")
        for exchange in ("events", "parked"):
            await channel.exchange_delete(f"{prefix}.{exchange}")
        await connection.close()


@pytest.fixture
def environment(
    bare_environment: dict[str, str], database_url: str, amqp_prefix: str, tmp_path: Path
) -> dict[str, str]:
    """The settings of a service that works."""
    return bare_environment | {
        "DATABASE_URL": database_url,
        "SECRET_KEYS": SECRET_KEYS,
        "POSTHORN_HTTP_PORT": str(free_port()),
        "POSTHORN_OPS_PORT": str(free_port()),
        "POSTHORN_AMQP_PREFIX": amqp_prefix,
        "POSTHORN_ALLOW_HTTP": "true",
        "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
        "POSTHORN_LOG_FORMAT": "json",
        "TMPDIR": str(tmp_path),  # what a killed supervisor cannot clear away goes with the test
    }


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    server = CommandServer(tmp_path_factory.mktemp("cli"))
    yield server
    server.close()


@pytest.fixture
def posthorn(commands: CommandServer, environment: dict[str, str]) -> Run:
    """Run ``posthorn`` with working settings, some changed."""

    async def run(*arguments: str, stdin: bytes = b"", **changes: str) -> Finished:
        return await commands.run(environment | changes, *arguments, stdin=stdin)

    return run


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with api_on(database_url) as api:
        yield api
