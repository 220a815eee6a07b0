"""The measurements of bench/limits as programs, on the servers that the run was given."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bench.limits.__main__ import parser_of, run

PATIENCE_SECONDS = 100

Measure = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture
def measure(postgres_server_url: str, amqp_url: str) -> Measure:
    """Runs a measurement by its command line; returns what it found."""
    shared = [f"--database-url={postgres_server_url}", f"--amqp-url={amqp_url}", f"--patience={PATIENCE_SECONDS}"]

    async def measured(command: str) -> dict[str, Any]:
        return await run(parser_of().parse_args([*command.split(), *shared]))

    return measured
