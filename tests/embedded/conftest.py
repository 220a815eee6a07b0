"""What the tests of the embedded servers share."""

from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from service.embedded.amqp import LoopbackBroker


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cluster for all tests of a module (making one takes a second), under a path with spaces."""
    return tmp_path_factory.mktemp("where people keep things") / "my data"


@pytest.fixture
async def broker() -> AsyncIterator[LoopbackBroker]:
    async with LoopbackBroker() as broker:
        yield broker


@pytest.fixture
async def channel(broker: LoopbackBroker) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(broker.url) as connection:
        yield await connection.channel(on_return_raises=True)
