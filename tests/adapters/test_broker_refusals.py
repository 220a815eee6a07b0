"""A broker that cannot be used: what is wrong and what to do, in a sentence without the password."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiormq.connection import FrameReceiver
from pamqp import commands, frame
from pamqp.base import Frame

from service.adapters.rabbitmq.connection import open_connection
from service.ports.errors import UnavailableError

START = commands.Connection.Start(server_properties={}, mechanisms="PLAIN", locales="en_US")
TUNE = commands.Connection.Tune(channel_max=10, frame_max=131_072, heartbeat=0)


def refusal(code: int, text: str) -> Frame:
    return commands.Connection.Close(reply_code=code, reply_text=text, class_id=0, method_id=0)


@asynccontextmanager
async def broker(*answers: Frame | bytes) -> AsyncIterator[int]:
    """A broker that says this, one answer for each frame it gets; its port."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(4096)
            writer.write(answer if isinstance(answer, bytes) else frame.marshal(answer, 0))
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def told(url: str) -> str:
    with pytest.raises(UnavailableError) as caught:
        await open_connection(url, "test")
    sentence = str(caught.value)
    assert "hunter2" not in sentence
    assert "object at 0x" not in sentence
    assert "AMQP_URL" in sentence
    return sentence


async def test_a_virtual_host_that_does_not_exist() -> None:
    async with broker(START, TUNE, refusal(530, "NOT_ALLOWED - vhost nosuch not found")) as port:
        sentence = await told(f"amqp://someone:hunter2@127.0.0.1:{port}/nosuch")
    assert sentence.startswith(f"127.0.0.1:{port} has no virtual host 'nosuch'; ")
    assert sentence.endswith("rabbitmqctl add_vhost nosuch")


async def test_a_virtual_host_of_others() -> None:
    refused = refusal(530, "NOT_ALLOWED - access to vhost 'theirs' refused for user 'someone'")
    async with broker(START, TUNE, refused) as port:
        sentence = await told(f"amqp://someone:hunter2@127.0.0.1:{port}/theirs")
    assert "rabbitmqctl set_permissions -p theirs someone" in sentence


@pytest.mark.parametrize("user", ["someone", "guest"])
async def test_a_wrong_password(user: str) -> None:
    async with broker(START, refusal(403, "ACCESS_REFUSED - Login was refused")) as port:
        sentence = await told(f"amqp://{user}:hunter2@127.0.0.1:{port}/")
    assert f"refused the user '{user}' or the password" in sentence
    assert ("only connect from the broker's own machine" in sentence) is (user == "guest")


async def test_something_that_is_no_broker() -> None:
    async with broker(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "AMQP" in await told(f"amqp://someone:hunter2@127.0.0.1:{port}/")
    async with broker() as port:
        assert "closed the connection before it spoke AMQP" in await told(f"amqp://someone:hunter2@127.0.0.1:{port}/")


async def test_a_broker_that_is_gone_before_it_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is just starting: it takes connections and drops them, and aiormq says so in a way of its own."""

    async def at_its_end(_: FrameReceiver) -> Any:
        raise StopAsyncIteration

    monkeypatch.setattr(FrameReceiver, "get_frame", at_its_end)
    async with broker() as port:
        assert "closed the connection before it spoke AMQP" in await told(f"amqp://someone:hunter2@127.0.0.1:{port}/")


async def test_nothing_that_listens() -> None:
    async with broker() as port:
        pass
    assert f"connection to 127.0.0.1:{port} refused; start RabbitMQ" in await told(
        f"amqp://u:hunter2@127.0.0.1:{port}/"
    )
