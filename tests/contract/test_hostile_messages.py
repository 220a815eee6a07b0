"""What a producer may write into a message is felt by nobody: it is parked with its reason, and its neighbours arrive.

Against RabbitMQ as well, where ``TEST_AMQP_URL`` says where it is: that shows what RabbitMQ lets through.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.adapters.rabbitmq.publisher import Publication
from service.adapters.rabbitmq.source import RabbitSource
from service.adapters.rabbitmq.topology import declare_topology
from service.core.events.event import BODY_BYTES_MAX, Event, parse_event
from service.core.reason import ParkReason
from tests.contract.broker_rig import Bench, Troubles
from tests.contract.raw_producer import HOSTILE, RawProducer
from tests.fakes.events import body_of

NEIGHBOURS = 300
SECONDS_MAX = 60


class Intake:
    """What the flow does with a source, without a database."""

    def __init__(self, source: RabbitSource) -> None:
        self.source = source
        self.events: list[Event] = []
        self.reasons: list[ParkReason] = []
        self.redelivered_count = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        while batch := await self.source.next_batch(100):
            for message in batch:
                self.redelivered_count += message.is_redelivered
                event = message.fault or parse_event(message.body, datetime.now(UTC), message_id=message.message_id)
                if isinstance(event, Event):
                    self.events.append(event)
                else:
                    self.reasons.append(event.reason)
                    await self.source.park(message, event.reason, event.detail)
            await self.source.ack(batch)
            self._changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while len(self.events) + len(self.reasons) < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def intake(bench: Bench, troubles: Troubles) -> AsyncIterator[Intake]:
    await declare_topology(bench.url, bench.topology)
    intake = Intake(await bench.source(troubles, relayed=True))
    running = asyncio.create_task(intake.run())
    yield intake
    assert troubles.errors == []
    assert intake.redelivered_count == 0
    await intake.source.stop()
    await running


def neighbours(count: int) -> list[Publication]:
    ids = [f"evt_{number}" for number in range(count)]
    return [Publication(body_of(id=each), "message.sent", message_id=each) for each in ids]


async def test_hostile_properties_are_parked_with_their_bytes_and_felt_by_nobody(bench: Bench, intake: Intake) -> None:
    publisher, parked = await bench.publisher(), await bench.parked()
    good = neighbours(NEIGHBOURS)
    async with RawProducer(bench.url) as producer:
        for number, (routing_key, written) in enumerate(HOSTILE.values()):
            await publisher.publish_many(good[number * 30 : number * 30 + 30])
            refused = await producer.publish(bench.topology.events_exchange, routing_key, written, body_of())
            assert refused is None
    await publisher.publish_many(good[len(HOSTILE) * 30 :])
    await intake.until(NEIGHBOURS + len(HOSTILE))
    assert [event.id for event in intake.events] == [each.message_id for each in good]
    assert intake.reasons == [ParkReason.BAD_PROPERTIES] * len(HOSTILE)
    async with asyncio.timeout(SECONDS_MAX):
        for _ in HOSTILE:
            message = await parked.get()
            assert message.body == body_of()
            assert (message.header.properties.headers or {})["x-posthorn-reason"] == "bad_properties"
    assert parked.empty()


async def test_what_is_too_large_is_parked_by_the_broker_and_felt_by_nobody(bench: Bench, intake: Intake) -> None:
    publisher, parked = await bench.publisher(), await bench.parked()
    large = bytes(BODY_BYTES_MAX + 1), bytes(15 * 1024 * 1024)
    good = neighbours(60)
    for number, body in enumerate(large):
        await publisher.publish_many(good[number * 30 : number * 30 + 30])
        await publisher.publish(Publication(body, "message.sent", message_id="large"))
    await intake.until(len(good) + len(large))
    assert len(intake.events) == len(good)
    assert intake.reasons == [ParkReason.TOO_LARGE] * len(large)
    async with asyncio.timeout(SECONDS_MAX):
        for body in large:
            message = await parked.get()
            assert message.body == body
            assert (message.header.properties.headers or {})["x-first-death-reason"] == "rejected"
    assert parked.empty()


@pytest.mark.parametrize("seed", range(3))
async def test_no_properties_that_the_broker_lets_through_stop_the_intake(
    bench: Bench, intake: Intake, seed: int
) -> None:
    published = await _publish_any(bench, seed)
    assert published
    await (await bench.publisher()).publish_many(neighbours(1))
    await intake.until(published + 1)
    assert "evt_0" in {event.id for event in intake.events}


async def _publish_any(bench: Bench, seed: int) -> int:
    """Publish messages with properties that were damaged at random; returns how many the broker took."""
    drawn: list[tuple[bytes, bytes]] = []

    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(HOSTILE)), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4))
    def draw(name: str, changes: list[tuple[int, int]]) -> None:
        routing_key, whole = HOSTILE[name]
        damaged = bytearray(whole[: 2 + (len(whole) + seed) % 90])
        for at, value in changes:
            damaged[(at + seed) % len(damaged)] = value
        drawn.append((routing_key, bytes(damaged)))

    draw()
    count = 0
    producer = await RawProducer(bench.url).__aenter__()
    for routing_key, damaged in drawn:
        if await producer.publish(bench.topology.events_exchange, routing_key, damaged, b"x") is None:
            count += 1
        else:  # the broker closed the connection: it does look at some of it
            await producer.__aexit__()
            producer = await RawProducer(bench.url).__aenter__()
    await producer.__aexit__()
    return count
