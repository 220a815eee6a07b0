"""Working settings for the commands, and the commands."""

import base64
import os
from pathlib import Path

import pytest

from tests.cli.command import Finished, Run, free_port, run_posthorn

SECRET_KEYS = "k1:" + base64.b64encode(b"k" * 32).decode()
OURS = ("POSTHORN_", "DATABASE_URL", "AMQP_", "SECRET_KEYS", "PUBLIC_URL", "PROMETHEUS_")


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """No setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


@pytest.fixture
def environment(bare_environment: dict[str, str], database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a service that works."""
    return bare_environment | {
        "DATABASE_URL": database_url,
        "SECRET_KEYS": SECRET_KEYS,
        "POSTHORN_HTTP_PORT": str(free_port()),
        "POSTHORN_OPS_PORT": str(free_port()),
        "POSTHORN_ALLOW_HTTP": "true",
        "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8",
        "POSTHORN_LOG_FORMAT": "json",
        "TMPDIR": str(tmp_path),  # what a killed supervisor cannot clear away goes with the test
    }


@pytest.fixture
def posthorn(environment: dict[str, str]) -> Run:
    """Run ``posthorn`` with working settings, some changed."""

    async def run(*arguments: str, stdin: bytes = b"", **changes: str) -> Finished:
        return await run_posthorn(environment | changes, *arguments, stdin=stdin)

    return run
