"""A town for each test, under the servers that the run was given."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.adapters.postgres.engine import connect
from tests.end_to_end.processes import ReceiverProcess, make_receiver_python
from tests.end_to_end.town import Town


@pytest.fixture(scope="session")
def receiver_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of somebody who has the receiver's package, and nothing of the service."""
    return make_receiver_python(tmp_path_factory.mktemp("receiver"))


@pytest.fixture
async def town(database_url: str, amqp_url: str, receiver_python: Path, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        receiver = ReceiverProcess(receiver_python, tmp_path)
        stack.callback(receiver.close)
        engine = connect(database_url, pool_size=2)
        stack.push_async_callback(engine.dispose)
        town = Town(database_url, amqp_url, receiver, tmp_path, engine)
        await town.open()
        stack.push_async_callback(town.close)
        yield town
