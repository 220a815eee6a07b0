"""What an endpoint asks for holds at the receiver's socket: whichever workers send, and whatever happens to them."""

import asyncio
import logging
import signal
from collections.abc import Sequence

import asyncpg

from service.core.deliveries.allowance import BURST_SECONDS, PROMPT_SECONDS
from tests.end_to_end.oracle import Line
from tests.end_to_end.processes import Worker
from tests.end_to_end.town import Town
from tests.end_to_end.waiting import until

log = logging.getLogger(__name__)

ONE = "/slow/one-at-a-time"
FEW = "/fail-twice/two-at-a-time"


def sent_to(town: Town, path: str) -> Sequence[Line]:
    return sorted((line for line in town.ledger.lines() if line.path == path), key=lambda line: line.at)


async def start(town: Town) -> Worker:
    """A worker whose leases end soon after it has died."""
    return await town.start_worker(POSTHORN_ATTEMPT_TIMEOUT_SECONDS="3", POSTHORN_LEASE_SECONDS="6")


async def is_sending(town: Town, worker: Worker, path: str) -> bool:
    """Whether this worker holds a place at the endpoint now."""
    connection = await asyncpg.connect(town.database_url)
    try:
        found = await connection.fetchval(
            """SELECT count(*) FROM endpoint_places p JOIN open_deliveries o USING (event_uid, subscription_id)
                 JOIN subscriptions s ON s.id = p.subscription_id
                WHERE s.target_url LIKE '%' || $1 AND p.claim_number = o.claims_made AND o.leased_by LIKE $2""",
            path,
            f"%-{worker.process.pid}-%",
        )
    finally:
        await connection.close()
    return bool(found)


async def two_limited(town: Town) -> None:
    await town.administration.limit_endpoint(await town.add_endpoint(ONE, "message.sent"), in_flight=1)
    await town.administration.limit_endpoint(await town.add_endpoint(FEW, "link.clicked"), in_flight=2)
    await town.add_endpoint("/ok/all")


async def publish(town: Town, count: int) -> None:
    """So many events for each of the two."""
    for each in ("message.sent", "link.clicked"):
        await town.publish([town.event(len(town.published) + number, each) for number in range(count)])


async def all_well(town: Town) -> None:
    """Everything arrived, and never with more requests at once than the endpoint asked for."""
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    most = {path: max(line.at_once for line in sent_to(town, path)) for path in (ONE, FEW)}
    counts = {path: len(sent_to(town, path)) for path in (ONE, FEW)}
    log.info("%s requests, %s at once, %s duplicates", counts, most, len(found.duplicates))
    assert most[ONE] == 1
    assert most[FEW] <= 2


async def test_never_more_at_once_than_asked_for_while_workers_are_killed(town: Town) -> None:
    await two_limited(town)
    workers = [await start(town) for _ in range(2)]
    await publish(town, 40)
    for _ in range(2):
        sending: list[Worker] = []

        async def is_one_sending(found: list[Worker] = sending) -> bool:
            found += [each for each in workers if await is_sending(town, each, ONE)]
            return bool(found)

        await until(is_one_sending, "a worker is sending", told=town.told)
        sending[0].kill()
        workers.remove(sending[0])
        workers.append(await start(town))
    await all_well(town)


async def test_a_worker_that_was_stopped_past_its_lease_begins_nothing_with_it(town: Town) -> None:
    await two_limited(town)
    workers = [await start(town) for _ in range(2)]
    await publish(town, 20)
    await until(lambda: len(sent_to(town, ONE)) >= 3, "some came", told=town.told)
    for each in workers:
        each.process.send_signal(signal.SIGSTOP)
    third = await start(town)
    stopped_at = len(sent_to(town, ONE))
    await until(lambda: len(sent_to(town, ONE)) > stopped_at + 2, "another worker goes on", told=third.said)
    for each in workers:
        each.process.send_signal(signal.SIGCONT)
    await all_well(town)


async def test_a_rate_holds_across_workers(town: Town) -> None:
    per_second, events = 20.0, 100
    path = "/ok/paced"
    endpoint_id = await town.add_endpoint(path, "message.sent")
    await town.administration.limit_endpoint(endpoint_id, per_second=per_second)
    await asyncio.gather(*(town.start_worker() for _ in range(2)))
    await town.publish([town.event(number, "message.sent") for number in range(events)])
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    times = [line.at for line in sent_to(town, path)]
    assert len(times) == events
    excess = max(
        last - first + 1 - per_second * (times[last] - times[first])
        for first in range(events)
        for last in range(first, events)
    )
    log.info("%.1f a second; at most %.1f above the rate", (events - 1) / (times[-1] - times[0]), excess)
    assert excess <= 1 + per_second * (BURST_SECONDS + PROMPT_SECONDS)
