"""The links to the broker and to the database cut, and turned into black holes, while events flow."""

import logging
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import make_url

from tests.contract.relay import Relay
from tests.end_to_end.processes import Worker
from tests.end_to_end.town import IN_FLIGHT_MAX, Town
from tests.end_to_end.waiting import until

log = logging.getLogger(__name__)

EVENTS = 200
WORKERS = 2
HELD_MAX = 4 * IN_FLIGHT_MAX  # what a worker leases ahead
CHECKS = {"amqp": "broker", "database": "database"}


class Link:
    """The way from the workers to one of the servers, and the faults it may have."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def fail(self, fault: str) -> None:
        if fault == "cut":
            await self._relay.close()
        else:
            self._relay.sink()

    async def mend(self, fault: str) -> None:
        if fault == "cut":
            await self._relay.open()
            return
        if fault == "black hole without return":
            self._relay.cut()
        self._relay.flow()


@pytest.fixture(params=CHECKS)
def broken(request: pytest.FixtureRequest) -> str:
    """Which of the two links fails."""
    return str(request.param)


@pytest.fixture
async def link(town: Town, broken: str) -> AsyncIterator[Link]:
    """A link of the workers' own, in which they are ready. What the test itself does goes another way."""
    url = make_url(town.amqp_url if broken == "amqp" else town.database_url)
    async with Relay(url.host or "127.0.0.1", url.port or 0) as relay:
        through = url.set(host="127.0.0.1", port=relay.port)
        if broken == "amqp":
            through = through.update_query_dict({"heartbeat": "1"})  # a dead link is noticed in seconds
        address = through.render_as_string(hide_password=False)
        for _ in range(WORKERS):
            if broken == "amqp":
                await town.start_worker(amqp_url=address)
            else:
                await town.start_worker(database_url=address)
        yield Link(relay)
        for worker in town.workers:  # before their link goes
            worker.kill()


async def says_what_is_missing(worker: Worker, check: str) -> bool:
    status, checks = await worker.readiness()
    return status == 503 and [name for name, each in checks.items() if not each["ok"]] == [check]


@pytest.mark.parametrize("fault", ["cut", "black hole", "black hole without return"])
async def test_it_goes_on_by_itself(town: Town, link: Link, broken: str, fault: str) -> None:
    await town.add_endpoint("/ok/all")
    await town.add_endpoint("/slow/some", "message.sent")

    await town.publish_numbers(range(EVENTS // 2))
    await town.requests_came(10)
    await link.fail(fault)
    await town.publish_numbers(range(EVENTS // 2, EVENTS))
    for worker in town.workers:
        await until(partial(says_what_is_missing, worker, CHECKS[broken]), "readyz names what fails", told=town.told)
    missing = EVENTS - sum(path == "/ok/all" for _, path in town.ledger.accepted())
    assert missing >= EVENTS // 2 - IN_FLIGHT_MAX, "the link still carried what it should not"
    await link.mend(fault)
    if broken == "database":
        await town.end_leases()  # what nobody could settle meanwhile
    for worker in town.workers:
        await worker.ready()
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    # Without the broker nothing is sent that is not known; without the database leases may run out meanwhile.
    allowed = 0 if broken == "amqp" else WORKERS * HELD_MAX
    assert len(found.duplicates) <= allowed, f"more than {allowed} duplicates: {found.duplicates}"
    assert [worker.process.poll() for worker in town.workers] == [None] * WORKERS
    log.info("%s events, %s missing when mended: %s duplicates", EVENTS, missing, len(found.duplicates))
