"""When a node of a test's own is taken to be ready."""

import asyncio

from service.embedded.amqp import LoopbackBroker
from tests.end_to_end.own_rabbitmq import lets_us_in
from tests.end_to_end.processes import free_port


async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(8)
    writer.close()
    await writer.wait_closed()


async def test_a_node_that_drops_whoever_comes_is_not_ready() -> None:
    async with await asyncio.start_server(drop, "127.0.0.1", 0) as booting:
        port = booting.sockets[0].getsockname()[1]
        assert not await lets_us_in(f"amqp://guest:guest@127.0.0.1:{port}/")


async def test_a_port_that_is_closed_is_not_ready() -> None:
    assert not await lets_us_in(f"amqp://guest:guest@127.0.0.1:{free_port()}/")


async def test_a_node_that_lets_clients_in_is_ready() -> None:
    async with LoopbackBroker() as broker:
        assert await lets_us_in(broker.url)
