"""Events published over HTTP, to processes that are killed: what was answered 202 is delivered."""

import asyncio
import random
import signal

import aiohttp
import pytest

from service.adapters.rabbitmq.publisher import Publication
from tests.end_to_end.processes import free_port
from tests.end_to_end.test_killed_workers import judged
from tests.end_to_end.town import Town
from tests.end_to_end.waiting import SECONDS_MAX, until

BATCH = 5


class HttpPublisher:
    """Sends batches one after another. One that was not answered is sent again, as a careful producer does."""

    def __init__(self, town: Town, url: str, key: str) -> None:
        self._town = town
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.unanswered = 0

    async def publish(self, numbers: range) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS_MAX)) as session:
            for start in range(numbers.start, numbers.stop, BATCH):
                events = [self._town.event(number) for number in range(start, min(start + BATCH, numbers.stop))]
                await until(lambda: self._is_taken(session, events), "a batch is answered 202", told=self._town.told)  # noqa: B023 - awaited here
                self._town.confirmed(events)

    async def _is_taken(self, session: aiohttp.ClientSession, events: list[Publication]) -> bool:
        body = b'{"events":[' + b",".join(event.body for event in events) + b"]}"
        try:
            async with session.post(self._url, data=body, headers=self._headers) as reply:
                assert reply.status in {202, 503}, await reply.text()
                return reply.status == 202
        except aiohttp.ClientError:
            self.unanswered += 1
            return False


async def start(town: Town, port: int, *command: str, **settings: str) -> None:
    await town.start_worker(*command, POSTHORN_HTTP_PORT=str(port), wait=not settings, **settings)


@pytest.mark.parametrize("point", ["before the commit", "after the commit, before anybody knows"])
async def test_a_process_killed_at_this_point_loses_nothing_it_accepted(town: Town, point: str) -> None:
    await town.add_endpoint("/ok/all")
    port, key = free_port(), await town.make_key("publish")
    publisher = HttpPublisher(town, f"http://127.0.0.1:{port}", key)
    await start(town, port, "tests.end_to_end.crashing_worker", point, "3", TOWN_ROLE="all")
    publishing = asyncio.create_task(publisher.publish(range(50)))
    dying = town.workers[0]
    assert await dying.ended() == -signal.SIGKILL, dying.said()
    held = await town.leased_by(dying)
    await town.end_leases(dying)
    await start(town, port, "service", "serve", "--role", "all")
    await publishing
    await judged(town, 1, held)
    assert publisher.unanswered


async def test_processes_killed_at_random_lose_nothing_they_accepted(town: Town) -> None:
    chance = random.Random(3)  # noqa: S311 - the same kills every time, as far as the moment is ours to choose
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/fail-twice/some", "link.clicked")
    port, key, kills = free_port(), await town.make_key("publish"), 4
    publisher = HttpPublisher(town, f"http://127.0.0.1:{port}", key)
    held: set[str] = set()
    await start(town, port, "service", "serve", "--role", "all")
    publishing = asyncio.create_task(publisher.publish(range(300)))
    for moment in sorted(chance.sample(range(20, 260), kills)):
        await until(lambda: len(town.published) >= moment, f"{moment} events are answered", told=town.told)  # noqa: B023 - awaited here
        town.workers[-1].kill()
        held |= await town.leased_by(town.workers[-1])
        await town.end_leases(town.workers[-1])
        await start(town, port, "service", "serve", "--role", "all")
    await publishing
    await judged(town, kills, held)


async def test_a_broker_that_is_away_keeps_no_event_from_being_taken_and_delivered(town: Town) -> None:
    await town.add_endpoint("/ok/all")
    port, key = free_port(), await town.make_key("publish")
    publisher = HttpPublisher(town, f"http://127.0.0.1:{port}", key)
    nobody = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    worker = await town.start_worker(
        "service", "serve", "--role", "all", amqp_url=nobody, POSTHORN_HTTP_PORT=str(port), wait=False
    )
    await publisher.publish(range(BATCH))
    status, checks = await worker.readiness()
    assert (status, checks["broker"]["ok"], checks["broker"]["needed"]) == (200, False, False)
    await judged(town, 0, set())
