"""The whole service as a process of its own, with a worker, a broker and receivers: for pages on which things happen."""

import json
import os
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiormq
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import connect
from service.adapters.rabbitmq.topology import declare_topology
from service.core.events.registry import REGISTRY
from service.core.events.sample import sample_event
from service.core.keys.api_key import NewKey
from service.embedded.amqp import LoopbackBroker
from service.ports.source import Topology
from tests.api.entrance_rig import bearing, make_key
from tests.api.whole_rig import OWNER
from tests.end_to_end.processes import Worker, free_port
from tests.end_to_end.town import SETTINGS
from tests.end_to_end.waiting import until
from webhook_signature import VerificationError, Webhook

ATTEMPTS_MAX = 2
"""Then a delivery dies, half a second after it came."""


@dataclass
class Receiver:
    """A customer's program: it verifies what comes with the secrets that it has, and answers with ``status``."""

    secrets: list[str] = field(default_factory=list)
    status: int = 204
    reply: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    verified: list[str] = field(default_factory=list)
    """The ids of the events that came and were right."""
    refused: list[str] = field(default_factory=list)
    """Why others were not."""
    url: str = ""

    async def until_verified(self, ids: Collection[str]) -> None:
        """Wait until these events have come, in any order, and were right."""

        def told() -> str:
            return f"verified {self.verified}, refused {self.refused}"

        await until(lambda: sorted(self.verified) == sorted(ids), f"{ids} come", told=told)

    async def answer(self, request: web.Request) -> web.Response:
        try:
            event = Webhook(self.secrets).verify(await request.read(), request.headers)
        except (VerificationError, ValueError) as error:
            self.refused.append(str(error))
            return web.Response(status=401)
        self.verified.append(event.id)
        return web.Response(status=self.status, body=self.reply.encode(), headers=self.headers)


@dataclass
class Running:
    """The service at ``origin``. ``key`` may do everything in the organization ``OWNER``."""

    origin: str
    engine: AsyncEngine
    key: NewKey
    channel: AbstractChannel
    topology: Topology
    worker: Worker
    receivers_origin: str
    _receivers: dict[str, Receiver]

    def receiver(self) -> Receiver:
        """A new one, at a URL of its own."""
        path = f"/{uuid4().hex[:8]}"
        made = self._receivers[path] = Receiver(url=self.receivers_origin + path)
        return made

    async def publish(self, body: bytes, routing_key: str, **properties: Any) -> None:
        """Publish a message as a producer does."""
        await self.channel.basic_publish(
            body,
            exchange=self.topology.events_exchange,
            routing_key=routing_key,
            properties=Basic.Properties(**properties),
        )

    async def happens(self, event_type: str, count: int = 1, **changes: Any) -> list[str]:
        """Sample events of the type, published and recorded. Returns their ids; ``changes`` are of their ``data``."""
        ids = [f"evt_{uuid4().hex[:12]}" for _ in range(count)]
        for number, event_id in enumerate(ids):
            body = sample_event(event_type, OWNER, event_id=event_id, number=number, now=datetime.now(UTC))
            event = json.loads(body)
            event["data"] |= changes
            if event_type in REGISTRY:
                await self.publish(json.dumps(event).encode(), event_type, message_id=event_id)
            else:  # the broker has no binding for an organization's own types
                await self.made("/v1/events", event)
        await self.until_count(f"events WHERE event_id IN ({', '.join(map(repr, ids))})", count)
        return ids

    async def until_count(self, what: str, count: int) -> None:
        """Wait until the table has as many rows; ``what`` is its name, and a condition."""

        async def is_so() -> bool:
            async with self.engine.connect() as connection:
                found = await connection.exec_driver_sql(f"SELECT count(*) FROM {what}")  # noqa: S608 - our own words
                return bool(found.scalar() == count)

        await until(is_so, f"{count} {what}", told=self.worker.said)

    async def made(self, path: str, body: object) -> Any:
        """What a POST that must succeed comes to."""
        async with (
            ClientSession() as session,
            session.post(self.origin + path, json=body, headers=bearing(self.key)) as reply,
        ):
            assert reply.ok, await reply.text()
            return await reply.json()

    async def read(self, path: str) -> Any:
        """What a GET answers."""
        async with ClientSession() as session, session.get(self.origin + path, headers=bearing(self.key)) as reply:
            assert reply.ok, await reply.text()
            return await reply.json()

    async def until_parked(self, count: int) -> None:
        """Wait until so many messages are parked."""

        async def are_there() -> bool:
            return (await self.channel.queue_declare(self.topology.parked, passive=True)).message_count == count

        await until(are_there, f"{count} messages are parked", told=self.worker.said)

    async def subscribe(self, event_type: str, **settings: Any) -> tuple[dict[str, Any], Receiver]:
        """A new endpoint for the type, and its receiver, which knows the secret."""
        receiver = self.receiver()
        made = await self.made("/v1/endpoints", {"url": receiver.url, "event_types": [event_type], **settings})
        receiver.secrets = [made["secret"]]
        return made, receiver


@asynccontextmanager
async def running_on(database_url: str, directory: Path) -> AsyncIterator[Running]:
    """Run the service on the database, with a broker and a topology of its own."""
    topology, port = Topology(f"posthorn-browser-{uuid4().hex[:12]}"), free_port()
    receivers: dict[str, Receiver] = {}
    async with AsyncExitStack() as stack:
        amqp_url = os.environ.get("TEST_AMQP_URL", "") or (await stack.enter_async_context(LoopbackBroker())).url
        receiving = await stack.enter_async_context(TestServer(_receiving(receivers), host="127.0.0.1"))
        channel = await _channel(stack, amqp_url, topology)
        engine = connect(database_url, pool_size=2)
        stack.push_async_callback(engine.dispose)
        environment = {
            **SETTINGS,
            "DATABASE_URL": database_url,
            "AMQP_URL": amqp_url,
            "POSTHORN_AMQP_PREFIX": topology.prefix,
            "POSTHORN_HTTP_PORT": str(port),
            "POSTHORN_EGRESS_ALLOW": f"127.0.0.1/32:{receiving.port}",
            "POSTHORN_RETRY_ATTEMPTS_MAX": str(ATTEMPTS_MAX),
            "POSTHORN_RATE_LIMIT_PER_HOUR": "1000000",
        }
        worker = Worker.start(("service", "serve", "--role", "all"), environment, directory / "service.log")
        stack.callback(worker.kill)
        await worker.ready()
        key = await make_key(engine, OWNER)
        origin, there = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{receiving.port}"
        yield Running(origin, engine, key, channel, topology, worker, there, receivers)


def _receiving(receivers: dict[str, Receiver]) -> web.Application:
    """Every receiver, each at its own path."""

    async def answer(request: web.Request) -> web.Response:
        return await receivers[request.path].answer(request)

    application = web.Application()
    application.router.add_post("/{path}", answer)
    return application


async def _channel(stack: AsyncExitStack, amqp_url: str, topology: Topology) -> AbstractChannel:
    """A channel of the broker, on which the topology is declared; it is deleted at the end."""
    await declare_topology(amqp_url, topology)
    connection = await stack.enter_async_context(await aiormq.connect(amqp_url))
    channel = await connection.channel()

    async def delete() -> None:
        for queue in (topology.intake_queue, topology.parked):
            await channel.queue_delete(queue)
        for exchange in (topology.events_exchange, topology.parked):
            await channel.exchange_delete(exchange)

    stack.push_async_callback(delete)
    return channel
