"""What people do with parked messages: look without harm, mend and publish again, discard; never lose one."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldValue

from service.adapters.rabbitmq.parked.desk import ParkedTimes, RabbitParkedDesk
from service.adapters.rabbitmq.parked.walk import ParkedWalk
from service.adapters.rabbitmq.topology import Declare, declare_topology
from service.core.audit.actor import Actor, ActorKind
from service.core.audit.entry import AuditOperation, State
from service.core.events.sample import sample_event
from service.core.parked.mending import NOTHING, Mend
from service.core.parked.message import ParkedFilter
from service.core.reason import ParkReason
from service.ports.errors import UnavailableError
from service.ports.parked import ParkedBusyError
from tests.contract.broker_rig import Bench, take
from tests.contract.raw_producer import HOSTILE, RawProducer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ME = Actor(ActorKind.CLI, "me@here")
EVERY = ParkedFilter()
_numbers = count(1)
Arguments = dict[str, FieldValue]


class Entries:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.made: list[tuple[AuditOperation, str, State]] = []

    async def enter(self, by: Actor, operation: AuditOperation, object_id: str, after: State) -> None:
        assert by == ME
        self.made.append((operation, object_id, after))


def desk_of(bench: Bench, *, declare: Declare = "active", relayed: bool = False) -> RabbitParkedDesk:
    url = bench.relayed_url if relayed else bench.url
    return RabbitParkedDesk(url, bench.topology, declare, log=Entries(), now=lambda: NOW)


def event(**changes: object) -> bytes:
    number = next(_numbers)
    sample = json.loads(sample_event("message.sent", "org_a", event_id=f"evt_{number}", number=number, now=NOW))
    return json.dumps(sample | changes).encode()


async def park(bench: Bench, *bodies: bytes, reason: ParkReason = ParkReason.UNKNOWN_ORGANIZATION) -> None:
    """Park them as the intake does."""
    await declare_topology(bench.url, bench.topology)
    publisher = await bench.publisher()
    channel = await bench.channel()
    source = await bench.source(prefetch=256)
    for body in bodies:
        properties = Basic.Properties(headers={"traceparent": "00-1-2-01"}, message_id=f"m{next(_numbers)}")
        await channel.basic_publish(
            body, exchange=bench.topology.events_exchange, routing_key="message.sent", properties=properties
        )
    for message in await take(source, len(bodies)):
        await source.park(message, reason, "the detail")
    await source.close()
    await publisher.close()
    assert await bench.waiting_count(bench.topology.intake_queue) == 0


async def intake(bench: Bench, number: int) -> list[DeliveredMessage]:
    arrivals = await bench.arrivals(bench.topology.intake_queue)
    return [await arrivals.get() for _ in range(number)]


async def ids(desk: RabbitParkedDesk, limit: int = 1000) -> Sequence[str]:
    return [each.id for each in (await desk.look(EVERY, limit=limit)).messages]


def only(*parked_ids: str) -> ParkedFilter:
    return ParkedFilter(frozenset(parked_ids))


async def test_a_look_shows_why_and_what_and_leaves_everything(bench: Bench) -> None:
    body = event()
    await park(bench, body, b"\xff\x00 not json")
    desk = desk_of(bench)
    looks = [await desk.look(EVERY, limit=10, body_bytes_max=5000) for _ in range(3)]
    first, second = looks[0].messages
    assert (first.reason, first.detail, first.body, first.body_bytes) == (
        *("unknown_organization", "the detail"),
        *(body, len(body)),
    )
    assert (first.routing_key, first.exchange) == ("message.sent", bench.topology.events_exchange)
    assert first.headers == {"traceparent": "00-1-2-01"}
    assert (first.claims.organization_id, first.claims.event_type) == ("org_a", "message.sent")
    assert first.parked_at is not None
    assert second.body == b"\xff\x00 not json"
    assert {(look.looked_at_count, look.message_count) for look in looks} == {(2, 2)}
    assert len({tuple(each.id for each in look.messages) for look in looks}) == 1
    assert await bench.waiting_count(bench.topology.parked) == 2


async def test_a_long_queue_is_looked_through_in_its_order_and_keeps_it(bench: Bench) -> None:
    await park(bench, *[event() for _ in range(100)])
    desk = desk_of(bench)
    everything = await ids(desk)
    assert len(set(everything)) == 100
    assert await ids(desk) == everything
    some = await desk.look(EVERY, limit=10, skip=70)
    assert [each.id for each in some.messages] == everything[70:80]
    assert await ids(desk) == everything


async def test_looking_often_loses_nothing_where_the_queue_gives_up_after_so_many_returns(bench: Bench) -> None:
    channel = await bench.channel()
    await declare_topology(bench.url, bench.topology)
    await channel.queue_delete(bench.topology.parked)
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
    }  # what RabbitMQ 4 does unless it is told another
    await channel.queue_declare(bench.topology.parked, durable=True, arguments=arguments)
    await channel.queue_bind(bench.topology.parked, bench.topology.parked)
    producer_headers = {"x-posthorn-reason": "bad_json"}
    for body in (b"small", bytes(600_000)):
        await channel.basic_publish(
            body, exchange=bench.topology.parked, properties=Basic.Properties(headers=dict(producer_headers))
        )
    desk = desk_of(bench, declare="passive")
    before = set(await ids(desk))
    for _ in range(50):
        await desk.look(EVERY, limit=10)
    assert set(await ids(desk)) == before
    assert await bench.waiting_count(bench.topology.parked) == 2


async def test_what_is_published_again_is_the_original_in_the_intake_queue(bench: Bench) -> None:
    bodies = [event() for _ in range(3)]
    await park(bench, *bodies)
    desk = desk_of(bench)
    _, second, _ = (await desk.look(EVERY, limit=10)).messages
    sweep = await desk.republish(only(second.id), NOTHING, limit=1, by=ME)
    assert (sweep.done, sweep.refused_count) == ([second.id], 0)
    [message] = await intake(bench, 1)
    assert message.body == bodies[1]
    assert message.header.properties.message_id == second.message_id
    assert message.header.properties.headers == {"traceparent": "00-1-2-01"}
    assert second.id not in await ids(desk)
    assert await bench.waiting_count(bench.topology.parked) == 2


async def test_mending_changes_what_was_asked_and_no_other_byte(bench: Bench) -> None:
    body = event(organization_id="org_wrong").replace(b'"data"', b'"big": 9007199254740993, "huge": 1e400, "data"')
    await park(bench, body)
    desk = desk_of(bench)
    [parked_id] = await ids(desk)
    mend = Mend(organization_id="org_b", event_type="message.delivered")
    refused = await desk.republish(only(parked_id), mend, limit=1, by=ME)
    assert (refused.done, refused.refused_count) == ([], 1)
    assert refused.refused[0][1].reason is ParkReason.BAD_DATA
    assert await bench.waiting_count(bench.topology.parked) == 1
    assert (await desk.republish(only(parked_id), Mend(organization_id="org_b"), limit=1, by=ME)).done == [parked_id]
    [message] = await intake(bench, 1)
    assert b'"huge":1e400' in message.body
    assert b'"big":9007199254740993' in message.body
    assert json.loads(message.body)["organization_id"] == "org_b"
    assert await bench.waiting_count(bench.topology.parked) == 0


async def test_another_body_takes_the_place_of_one_that_could_not_be_read(bench: Bench) -> None:
    await park(bench, b"{", reason=ParkReason.BAD_JSON)
    desk, body = desk_of(bench), event()
    [parked_id] = await ids(desk)
    still_bad = await desk.republish(only(parked_id), Mend(body=b"[]"), limit=1, by=ME)
    assert still_bad.refused[0][1].reason is ParkReason.NOT_AN_OBJECT
    assert (await desk.republish(only(parked_id), Mend(body=body), limit=1, by=ME)).done == [parked_id]
    [message] = await intake(bench, 1)
    assert message.body == body


async def test_only_what_is_named_is_discarded_and_of_twins_one(bench: Bench) -> None:
    await park(bench, event(), b"x", event())
    channel = await bench.channel()
    for _ in range(2):
        await channel.basic_publish(
            b"twin", exchange=bench.topology.parked, properties=Basic.Properties(message_id="m")
        )
    desk = desk_of(bench)
    before = await ids(desk)
    assert before[3] == before[4]
    dry = await desk.discard(only(before[3]), limit=1, is_dry=True, by=ME)
    assert dry.done == [before[3]]
    assert await ids(desk) == before
    assert (await desk.discard(only(before[3]), limit=1, by=ME)).done == [before[3]]
    assert await ids(desk) == before[:4]
    assert (await desk.discard(only("prk_" + "0" * 32), limit=1, by=ME)).done == []
    assert await ids(desk) == before[:4]


async def test_all_of_a_reason_go_and_what_would_be_parked_again_stays(bench: Bench) -> None:
    await park(bench, *[event() for _ in range(40)], b"not json", event())
    await park(bench, b"also not json", reason=ParkReason.BAD_JSON)
    desk = desk_of(bench)
    wanted = ParkedFilter(reasons=frozenset({"unknown_organization"}))
    dry = await desk.republish(wanted, NOTHING, limit=1000, is_dry=True, by=ME)
    assert (len(dry.done), dry.refused_count, dry.looked_at_count) == (41, 1, 43)
    assert await bench.waiting_count(bench.topology.intake_queue) == 0
    sweep = await desk.republish(wanted, NOTHING, limit=1000, by=ME)
    assert (len(sweep.done), sweep.refused_count, sweep.reached_limit) == (41, 1, None)
    assert [rejected.reason for _, rejected in sweep.refused] == [ParkReason.BAD_JSON]
    assert len(await intake(bench, 41)) == 41
    assert {each.body_bytes for each in (await desk.look(EVERY, limit=10)).messages} == {8, 13}


@pytest.mark.parametrize("obstacle", ["missing", "full"])
async def test_what_no_queue_takes_stays(bench: Bench, obstacle: str) -> None:
    await park(bench, event())
    channel = await bench.channel()
    await channel.queue_delete(bench.topology.intake_queue)
    if obstacle == "full":
        full: Arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.queue_declare(bench.topology.intake_queue, durable=True, arguments=full)
        await channel.basic_publish(b"fills it", routing_key=bench.topology.intake_queue)
    desk = desk_of(bench)
    before = await ids(desk)
    with pytest.raises(UnavailableError, match="is missing" if obstacle == "missing" else "refused it"):
        await desk.republish(EVERY, NOTHING, limit=10, by=ME)
    assert await ids(desk) == before


async def test_nothing_is_done_that_is_not_entered_first(bench: Bench) -> None:
    class Closed(Entries):
        async def enter(self, *_: object) -> None:
            raise UnavailableError("no database")

    await park(bench, event())
    desk = RabbitParkedDesk(bench.url, bench.topology, "active", log=Closed(), now=lambda: NOW)
    for attempt in (desk.discard(EVERY, limit=1, by=ME), desk.republish(EVERY, NOTHING, limit=1, by=ME)):
        with pytest.raises(UnavailableError, match="no database"):
            await attempt
    assert len(await ids(desk)) == 1
    log = Entries()
    parked_id = (await ids(desk))[0]
    desk = RabbitParkedDesk(bench.url, bench.topology, "active", log=log, now=lambda: NOW)
    await desk.discard(only(parked_id), limit=1, by=ME)
    assert log.made == [("parked.discard", parked_id, {"limit": 1, "reasons": []})]


async def test_one_looks_at_a_time_and_the_other_waits(bench: Bench) -> None:
    await park(bench, event(), event())
    first = ParkedWalk(bench.url, bench.topology, "active", body_bytes_max=1000, turn_seconds_max=10, seconds_max=30)
    await first.open()
    assert [len(window) async for window in first.windows()] == [2]
    hasty = ParkedTimes(0, 30, 30)
    with pytest.raises(ParkedBusyError):
        await RabbitParkedDesk(bench.url, bench.topology, "active", log=Entries(), now=lambda: NOW, times=hasty).look(
            EVERY, limit=10
        )
    waiting = asyncio.create_task(desk_of(bench).look(EVERY, limit=10))
    await first.close()
    assert len((await waiting).messages) == 2


async def test_a_connection_cut_between_confirm_and_ack_leaves_it_in_both(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(bench, event())
    ack = ParkedWalk.ack

    async def cut(self: ParkedWalk, arrived: Any) -> None:
        bench.relay.cut()
        await ack(self, arrived)

    monkeypatch.setattr(ParkedWalk, "ack", cut)
    before = await ids(desk_of(bench))
    with suppress(UnavailableError):  # the ack may have been sent into nothing
        await desk_of(bench, relayed=True).republish(EVERY, NOTHING, limit=10, by=ME)
    monkeypatch.undo()
    assert await ids(desk_of(bench)) == before
    assert len(await intake(bench, 1)) == 1


@pytest.mark.parametrize(("step", "published_count"), [("Again.publish", 0), ("ParkedWalk.ack", 1)])
async def test_a_process_killed_between_the_steps_loses_nothing(bench: Bench, step: str, published_count: int) -> None:
    await park(bench, event(), event())
    before = await ids(desk_of(bench))
    program = f"""
import asyncio, os, signal
from datetime import UTC, datetime
from service.adapters.rabbitmq.parked.again import Again
from service.adapters.rabbitmq.parked.walk import ParkedWalk
from tests.contract.test_parked_desk import EVERY, ME, Entries
from service.adapters.rabbitmq.parked.desk import RabbitParkedDesk
from service.core.parked.mending import NOTHING
from service.ports.source import Topology

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{step} = die
desk = RabbitParkedDesk({bench.url!r}, Topology({bench.topology.prefix!r}, delivery_limit=3), "active",
                        log=Entries(), now=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))
asyncio.run(desk.republish(EVERY, NOTHING, limit=10, by=ME))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=dict(os.environ))
    assert await process.wait() == -signal.SIGKILL
    assert sorted(await ids(desk_of(bench))) == sorted(before)
    assert await bench.waiting_count(bench.topology.intake_queue) == 2 * published_count


async def test_whatever_a_producer_wrote_is_shown_named_and_discarded(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    async with RawProducer(bench.url) as producer:
        for routing_key, encoded in HOSTILE.values():
            assert await producer.publish(bench.topology.parked, routing_key, encoded, b"\xff{") is None
    desk = desk_of(bench)
    before = await ids(desk)
    assert len(set(before)) == len(HOSTILE)
    assert await ids(desk) == before
    look = await desk.look(EVERY, limit=100, body_bytes_max=100)
    json.dumps([(each.properties, each.headers, each.routing_key) for each in look.messages])
    body = event()
    done = [await desk.republish(only(each), Mend(body=body), limit=1, by=ME) for each in before[:4]]
    assert [each.done for each in done] == [[each] for each in before[:4]]
    assert {message.body for message in await intake(bench, 4)} == {body}
    assert len((await desk.discard(EVERY, limit=100, by=ME)).done) == len(HOSTILE) - 4
    assert await bench.waiting_count(bench.topology.parked) == 0


async def test_a_body_too_large_to_be_held_is_named_and_comes_only_when_asked_for(bench: Bench) -> None:
    await declare_topology(bench.url, bench.topology)
    channel = await bench.channel()
    large = [bytes([number]) * 3_000_000 for number in range(3)]
    for body in large:
        await channel.basic_publish(body, exchange=bench.topology.parked)
    desk = desk_of(bench)
    look = await desk.look(EVERY, limit=10)
    assert [(each.body, each.body_bytes) for each in look.messages] == [(None, 3_000_000)] * 3
    second = look.messages[1].id
    [whole] = (await desk.look(only(second), limit=1, body_bytes_max=4_000_000)).messages
    assert whole.body == large[1]
    refused = await desk.republish(only(second), NOTHING, limit=1, by=ME)
    assert refused.refused[0][1].reason is ParkReason.TOO_LARGE
    assert (await desk.republish(only(second), Mend(body=event()), limit=1, by=ME)).done == [second]
    assert await bench.waiting_count(bench.topology.parked) == 2
