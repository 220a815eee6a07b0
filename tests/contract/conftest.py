"""The brokers that the event source suite runs against."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from yarl import URL

from service.embedded.amqp import LoopbackBroker
from tests.contract.broker_rig import Bench, Troubles
from tests.contract.relay import Relay

RABBITMQ_URL = os.environ.get("TEST_AMQP_URL", "")  # without it, test_event_source.py says so, once
BROKERS = ["loopback", *([pytest.param("rabbitmq", marks=pytest.mark.servers)] if RABBITMQ_URL else [])]


@pytest.fixture(params=BROKERS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        is_loopback = request.param == "loopback"
        url = (await stack.enter_async_context(LoopbackBroker())).url if is_loopback else RABBITMQ_URL
        target = URL(url)
        relay = await stack.enter_async_context(Relay(target.host or "127.0.0.1", target.port or 5672))
        bench = Bench(url, relay, stack)
        stack.push_async_callback(bench.clean)
        yield bench


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()
