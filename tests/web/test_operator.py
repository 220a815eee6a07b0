"""The operator's pages: the service, organizations, and what is done with parked messages."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import uuid4

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from service.adapters.postgres.engine import connect, connection_name, driver
from service.adapters.rabbitmq.parked import reader
from service.adapters.rabbitmq.parked.desk import FOR_PAGES
from service.adapters.rabbitmq.topology import declare_topology
from service.app import http
from service.core.events.sample import sample_event
from service.ports.source import Topology
from tests.api.whole_rig import OWNER, SETTINGS, Whole, whole_on
from tests.web.visitor import Visitor, operator, signed_in

PARKED = "/dashboard/service/parked"
SCRIPT = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Broker:
    """The broker of the application, and what is in its queues."""

    channel: AbstractChannel
    topology: Topology

    async def park(self, body: bytes, **headers: str) -> None:
        ours = {f"x-posthorn-{name.replace('_', '-')}": value for name, value in headers.items()}
        properties = Basic.Properties(headers={**ours, "x-theirs": SCRIPT}, message_id="evt_1")
        await self.channel.basic_publish(body, exchange=self.topology.parked, properties=properties)

    async def waiting(self, queue: str) -> int:
        return (await self.channel.queue_declare(queue, passive=True)).message_count or 0


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Broker]:
    topology = Topology(f"posthorn-web-{uuid4().hex[:12]}")
    await declare_topology(amqp_url, topology)
    async with await aiormq.connect(amqp_url) as connection:
        channel = await connection.channel()
        yield Broker(channel, topology)
        for queue in (topology.intake_queue, topology.parked):
            await channel.queue_delete(queue)
        for exchange in (topology.events_exchange, topology.parked):
            await channel.exchange_delete(exchange)


@pytest.fixture
async def served(database_url: str, amqp_url: str, broker: Broker) -> AsyncIterator[Whole]:
    settings = {**SETTINGS, "AMQP_URL": amqp_url, "POSTHORN_AMQP_PREFIX": broker.topology.prefix}
    async with whole_on(database_url, settings=settings) as found:
        yield found


def event(organization_id: str = OWNER) -> bytes:
    return sample_event("message.sent", organization_id, event_id="evt_1", number=1, now=datetime.now(UTC))


async def first_message(visitor: Visitor) -> str:
    found = re.search(rf'href="({PARKED}/prk_[0-9a-f]+)"', (await visitor.get(PARKED)).text)
    assert found is not None
    return found[1]


async def test_nobody_but_the_operator_sees_the_service(served: Whole) -> None:
    visitor = await signed_in(served)
    for path in ("/service", "/service/organizations", "/service/parked", "/service/parked/prk_1"):
        assert (await visitor.get(f"/dashboard{path}")).status == 404
    assert (await visitor.post(f"{PARKED}/prk_1/discard")).status == 404


async def test_the_service_says_what_to_look_at_first(served: Whole, broker: Broker, database_url: str) -> None:
    visitor = await operator(served)
    seen = await visitor.get("/dashboard/service")
    assert (seen.status, seen.title) == (200, "2 things need a look")
    assert "No worker is connected" in seen.words
    assert f"Nobody reads {broker.topology.intake_queue}" in seen.words
    worker = connect(database_url, name=connection_name("worker", "host-1"))
    async with driver(worker) as connection, await aiormq.connect(served_url(broker)) as reader:
        await connection.execute(
            """INSERT INTO endpoints (id, organization_id, url) VALUES ('ep_1', $1, 'https://e.example/');
            """.replace("$1", f"'{OWNER}'")
        )
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until, detail) VALUES ('ep_1', 'paused', 'infinity', $1)", SCRIPT
        )
        await (await reader.channel()).basic_consume(broker.topology.intake_queue, _ignore)
        seen = await visitor.get("/dashboard/service")
        assert (seen.status, seen.title) == (200, "Nothing needs attention")
        assert "host-1" in seen.words
        assert "ep_1" in seen.words
        assert SCRIPT not in seen.text
    await worker.dispose()


def served_url(broker: Broker) -> str:
    return str(broker.channel.connection.url)


async def _ignore(_: object) -> None:
    """Leave it unacked."""


async def test_organizations_are_found_by_a_part_of_their_id(served: Whole) -> None:
    visitor = await operator(served)
    async with driver(served.engine) as connection:
        await connection.execute("INSERT INTO organizations (id) SELECT 'org_' || n FROM generate_series(100, 160) n")
    listed = "/dashboard/service/organizations"
    first = await visitor.get(listed)
    assert first.text.count("<tr>") == 51
    more = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert more is not None
    assert "org_160" in (await visitor.get(more[1].replace("&amp;", "&"))).words
    found = await visitor.get(f"{listed}?q=MINE")
    assert (found.status, found.title) == (200, "1 organization")
    assert OWNER in found.words
    assert SCRIPT not in (await visitor.get(f"{listed}?q={quote(SCRIPT)}")).text
    for name in ("q", "after"):
        seen = await visitor.get(f"{listed}?{name}=%00")
        assert (seen.status, "cannot be stored" in seen.words) == (400, True)


async def test_a_message_is_mended_and_published_again(served: Whole, broker: Broker) -> None:
    visitor = await operator(served)
    assert (await visitor.get(PARKED)).title == "Nothing is parked"
    wrong = event("org_wrong")
    await broker.park(wrong, reason="unknown_organization", detail=SCRIPT, parked_at="2026-11-22T03:00:00.000000Z")
    listed = await visitor.get(PARKED)
    assert listed.title == "1 message parked"
    assert "unknown_organization" in listed.words
    path = await first_message(visitor)
    page = await visitor.get(path)
    assert page.status == 200
    assert SCRIPT not in listed.text + page.text
    text = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert text is not None
    body = text[1].replace("&#34;", '"')

    broken = body.replace('"data"', '"dada"')
    refused = await visitor.post(f"{path}/republish", {"type": "message.sent", "organization": OWNER, "body": broken})
    assert refused.status == 422
    assert "It would be parked again" in refused.words
    assert "dada" in refused.text, "what was written is not lost"
    assert await broker.waiting(broker.topology.parked) == 1

    form = {"type": "message.sent", "organization": OWNER, "body": body.replace("\n", "\r\n")}
    done = await visitor.post(f"{path}/republish", form)
    assert done.status == 303
    after = await visitor.get(done.location)
    assert (after.title, "Published again" in after.words) == ("Nothing is parked", True)
    message = await broker.channel.basic_get(broker.topology.intake_queue)
    assert json.loads(message.body) == json.loads(wrong) | {"organization_id": OWNER}
    assert (await visitor.get(path)).status == 404


async def test_what_cannot_be_read_is_replaced_or_discarded(served: Whole, broker: Broker) -> None:
    visitor = await operator(served)
    await broker.park(b"\xff\xfe", reason="invalid_utf8", detail="not UTF-8 at byte 0")
    path = await first_message(visitor)
    assert "The body is not shown" in (await visitor.get(path)).words
    empty = await visitor.post(f"{path}/republish", {"body": "", "type": "", "organization": ""})
    assert (empty.status, "not UTF-8" in empty.words) == (422, True)
    done = await visitor.post(f"{path}/discard")
    assert "Discarded" in (await visitor.get(done.location)).words
    assert await broker.waiting(broker.topology.parked) == 0
    entries = (await served.ask("GET", "/v1/audit")).json["data"]
    assert entries == [] or all(not each["operation"].startswith("parked.") for each in entries)
    async with driver(served.engine) as connection:
        made = await connection.fetch(
            "SELECT operation, actor_kind, actor_id FROM audit_log WHERE object_id LIKE 'prk_%'"
        )
    assert [tuple(row) for row in made][-1] == ("parked.discard", "link", "me@here")


async def test_what_was_not_reached_is_not_said_to_be_done(
    database_url: str, amqp_url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk along a long queue may end before it comes to the message."""
    monkeypatch.setattr(http, "FOR_PAGES", replace(FOR_PAGES, sweep_seconds=0))
    monkeypatch.setattr(reader, "WINDOW_FIRST", 1)
    await broker.park(b"\xff", reason="invalid_utf8", detail="first")
    await broker.park(event("org_wrong"), reason="unknown_organization", detail="second")
    settings = {**SETTINGS, "AMQP_URL": amqp_url, "POSTHORN_AMQP_PREFIX": broker.topology.prefix}
    async with whole_on(database_url, settings=settings) as served:
        visitor = await operator(served)
        path = re.findall(rf'href="({PARKED}/prk_[0-9a-f]+)"', (await visitor.get(PARKED)).text)[-1]
        form = {"type": "message.sent", "organization": OWNER, "body": event().decode()}
        for step in ("discard", "republish"):
            seen = await visitor.post(f"{path}/{step}", form)
            assert (seen.status, "Only 1 of 2 messages" in seen.words) == (404, True)
    assert await broker.waiting(broker.topology.parked) == 2
    assert await broker.waiting(broker.topology.intake_queue) == 0


async def test_who_may_only_look_changes_nothing(served: Whole, broker: Broker) -> None:
    visitor = await operator(served, "read")
    await broker.park(event(), reason="costly", detail="x")
    path = await first_message(visitor)
    page = await visitor.get(path)
    assert "Publish again" not in page.words
    for step in ("republish", "discard"):
        assert (await visitor.post(f"{path}/{step}")).status == 403
    assert await broker.waiting(broker.topology.parked) == 1


async def test_without_a_broker_the_pages_say_so(whole: Whole) -> None:
    visitor = await operator(whole)
    assert (await visitor.get(PARKED)).title == "No broker is configured"
    assert (await visitor.get(f"{PARKED}/prk_1")).status == 404
    assert (await visitor.get("/dashboard/service")).status == 200


async def test_a_broker_that_is_away_is_a_sentence(database_url: str) -> None:
    async with whole_on(database_url, settings={**SETTINGS, "AMQP_URL": "amqp://guest:hush@127.0.0.1:1/"}) as away:
        visitor = await operator(away)
        for path in (PARKED, f"{PARKED}/prk_1"):
            seen = await visitor.get(path)
            assert (seen.status, "refused" in seen.words) == (503, True)
            assert "hush" not in seen.text
        assert "The broker cannot be used" in (await visitor.get("/dashboard/service")).words


async def test_a_broker_that_says_nothing_is_a_sentence_too(database_url: str) -> None:
    """Within the time of a page: the operator looks at it just then."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with whole_on(database_url, settings={**SETTINGS, "AMQP_URL": f"amqp://127.0.0.1:{port}/"}) as silent:
            visitor = await operator(silent)
            seen = await visitor.get("/dashboard/service")
            assert (seen.status, "The broker cannot be used: no answer within" in seen.words) == (200, True)
            for path in (PARKED, f"{PARKED}/prk_1"):
                seen = await visitor.get(path)
                assert (seen.status, "The parked queue could not be read" in seen.words) == (503, True)
