"""Order by key holds at the receiver's socket: whichever workers send, and whatever happens to them."""

import json
import logging
import signal
from datetime import UTC, datetime, timedelta

import asyncpg

from service.adapters.rabbitmq.publisher import Publication
from service.core.timestamp import format_timestamp
from tests.end_to_end.processes import Worker
from tests.end_to_end.town import ORGANIZATION, Town
from tests.end_to_end.waiting import until

log = logging.getLogger(__name__)

KEYS = 4


async def ordered(town: Town, path: str, *, is_paused: bool = False) -> str:
    """An endpoint of that path that asks for the order of each message's events."""
    endpoint_id = await town.add_endpoint(path, "message.sent")
    await town.administration.order_endpoint(endpoint_id, "data.message.id")
    if is_paused:
        await town.administration.pause_endpoint(ORGANIZATION, endpoint_id, True)  # noqa: FBT003
    return endpoint_id


async def start(town: Town) -> Worker:
    """A worker whose leases end soon after it has died."""
    return await town.start_worker(POSTHORN_ATTEMPT_TIMEOUT_SECONDS="3", POSTHORN_LEASE_SECONDS="6")


def events(town: Town, count: int) -> list[Publication]:
    """So many events, of each message in turn; the ids are in the order of their timestamps."""
    began_at, made = datetime.now(UTC) - timedelta(hours=1), []
    for number in range(count):
        plain = town.event(number, "message.sent")
        envelope = json.loads(plain.body)
        envelope["data"]["message"]["id"] = f"msg_{number % KEYS}"
        envelope["timestamp"] = format_timestamp(began_at + timedelta(seconds=number))
        made.append(Publication(json.dumps(envelope).encode(), plain.event_type, plain.message_id, plain.occurred_at))
    return made


async def all_recorded(town: Town, count: int) -> None:
    async def is_done() -> bool:
        return await town._count("events") >= count

    await until(is_done, "every event is recorded", told=town.told)


def requests_by_key(town: Town, path: str) -> list[list[int]]:
    """For each message the numbers of its events, in the order of their requests."""
    lines = sorted((line for line in town.ledger.lines() if line.path == path), key=lambda line: line.at)
    numbers = [int(line.id.removeprefix("evt_")) for line in lines]
    return [[number for number in numbers if number % KEYS == key] for key in range(KEYS)]


async def all_well(town: Town, path: str, count: int) -> None:
    """Everything arrived, and of each message one event after the other, from the earliest to the latest."""
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    for key, numbers in enumerate(requests_by_key(town, path)):
        assert numbers == sorted(numbers), f"msg_{key}: {numbers}"
        assert set(numbers) == set(range(key, count, KEYS))
    log.info("%s events, %s requests, %s duplicates", count, len(town.ledger.lines()), len(found.duplicates))


async def is_sending(town: Town, worker: Worker) -> bool:
    connection = await asyncpg.connect(town.database_url)
    try:
        held = "SELECT count(*) FROM line_heads h JOIN open_deliveries o USING (event_uid) WHERE o.leased_by LIKE $1"
        return bool(await connection.fetchval(held, f"%-{worker.process.pid}-%"))
    finally:
        await connection.close()


async def test_the_events_of_a_key_arrive_in_order_while_workers_are_killed(town: Town) -> None:
    """Each request fails twice, and takes so long that workers are killed in the middle of one."""
    path, count = "/fail-twice/slow/in-order", 40
    endpoint_id = await ordered(town, path, is_paused=True)
    workers = [
        await start(town) for _ in range(5)
    ]  # no start is waited for meanwhile: all might have been sent by then
    await town.publish(events(town, count)[::-1])  # the latest first: the workers take them from the queue as they like
    await all_recorded(town, count)
    await town.administration.pause_endpoint(ORGANIZATION, endpoint_id, False)  # noqa: FBT003
    for kill in range(1, 4):
        await town.requests_came(15 * kill)
        sending: list[Worker] = []

        async def is_one_sending(found: list[Worker] = sending) -> bool:
            found += [each for each in workers if await is_sending(town, each)]
            return bool(found)

        await until(is_one_sending, "a worker is sending", told=town.told)
        sending[0].kill()
        workers.remove(sending[0])
    await all_well(town, path, count)


async def test_a_worker_that_was_stopped_past_its_lease_sends_no_head_after_its_successor(town: Town) -> None:
    path, count = "/slow/in-order", 24
    endpoint_id = await ordered(town, path, is_paused=True)
    workers = [await start(town) for _ in range(2)]
    await town.publish(events(town, count))
    await all_recorded(town, count)
    await town.administration.pause_endpoint(ORGANIZATION, endpoint_id, False)  # noqa: FBT003
    await town.requests_came(4)
    for each in workers:
        each.process.send_signal(signal.SIGSTOP)
    stopped_at = len(town.ledger.lines())
    third = await start(town)
    await until(lambda: len(town.ledger.lines()) > stopped_at + KEYS, "another worker goes on", told=third.said)
    for each in workers:
        each.process.send_signal(signal.SIGCONT)
    await all_well(town, path, count)
