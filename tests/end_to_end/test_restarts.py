"""The database and the broker restarted, the one also by a kill, while events flow."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.adapters.postgres.schema import migrate_schema
from service.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.own_rabbitmq import OwnRabbitMQ, missing_program
from tests.end_to_end.processes import Worker, free_port
from tests.end_to_end.town import IN_FLIGHT_MAX, Town
from tests.end_to_end.waiting import until

log = logging.getLogger(__name__)

EVENTS = 200
WORKERS = 2
HELD_MAX = 4 * IN_FLIGHT_MAX  # what a worker leases ahead


async def all_miss(town: Town, check: str) -> None:
    """Wait until /readyz of each worker answers 503 and names this check alone."""
    for worker in town.workers:
        await until(partial(_misses, worker, check), f"readyz names {check} alone", told=town.told)


async def _misses(worker: Worker, check: str) -> bool:
    status, checks = await worker.readiness()
    return status == 503 and [name for name, each in checks.items() if not each["ok"]] == [check]


async def all_went_well(town: Town, *, duplicates_max: int) -> None:
    """Ask the oracle, after the end; the workers must be those of the beginning."""
    await town.all_ended()
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    assert len(town.published) == EVENTS
    assert len(found.duplicates) <= duplicates_max, f"more than {duplicates_max} duplicates: {found.duplicates}"
    assert [worker.process.poll() for worker in town.workers] == [None] * WORKERS
    log.info("%s events: %s duplicates", EVENTS, len(found.duplicates))


class TestDatabase:
    @pytest.fixture
    async def postgres(self, tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
        """A server that comes back on the same port, as one that is restarted in place does."""
        # What was committed survives a killed server, though not a killed machine.
        async with EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"}, port=free_port()) as server:
            yield server

    @pytest.fixture
    async def database_url(self, postgres: EmbeddedPostgres) -> str:
        await migrate_schema(postgres.url)
        return postgres.url

    @pytest.mark.parametrize("end", ["stopped", "killed"])
    async def test_it_goes_on_by_itself(self, town: Town, postgres: EmbeddedPostgres, end: str) -> None:
        await town.add_endpoint("/ok/all")
        await town.add_endpoint("/slow/some", "message.sent")
        for _ in range(WORKERS):
            await town.start_worker()

        await town.publish_numbers(range(EVENTS // 2))
        await town.requests_came(10)
        if end == "killed":
            assert postgres.process_id is not None
            os.kill(postgres.process_id, signal.SIGKILL)
        await postgres.__aexit__(None, None, None)
        await town.publish_numbers(range(EVENTS // 2, EVENTS))
        await all_miss(town, "database")
        missing = EVENTS - sum(path == "/ok/all" for _, path in town.ledger.accepted())
        assert missing >= EVENTS // 2 - IN_FLIGHT_MAX, "something was sent that no database has"
        await postgres.__aenter__()
        await town.end_leases()  # what nobody could settle meanwhile
        for worker in town.workers:
            await worker.ready()
        # An answer that could not be recorded is asked for again.
        await all_went_well(town, duplicates_max=WORKERS * HELD_MAX)


@pytest.mark.skipif(missing_program() != "", reason=f"{missing_program()} is not installed")
class TestBroker:
    @pytest.fixture
    async def rabbitmq(self, tmp_path: Path) -> AsyncIterator[OwnRabbitMQ]:
        directory = tmp_path / "rabbitmq"
        directory.mkdir()
        async with OwnRabbitMQ(directory, [free_port() for _ in range(3)]) as node:
            yield node

    @pytest.fixture
    async def amqp_url(self, rabbitmq: OwnRabbitMQ) -> str:
        return rabbitmq.url

    async def test_it_goes_on_by_itself(self, town: Town, rabbitmq: OwnRabbitMQ) -> None:
        await town.add_endpoint("/ok/all")
        await town.add_endpoint("/slow/some", "message.sent")
        for _ in range(WORKERS):
            await town.start_worker()

        await town.publish_numbers(range(EVENTS // 4))
        await town.requests_came(10)
        for worker in town.workers:
            worker.process.send_signal(signal.SIGSTOP)  # what comes now stays in the queue
        await town.publish_numbers(range(EVENTS // 4, EVENTS // 2))
        await rabbitmq.stop()
        kept = EVENTS // 2 - await events_recorded(town)
        assert kept >= EVENTS // 4, "the queue was to keep messages"
        for worker in town.workers:
            worker.process.send_signal(signal.SIGCONT)
        await all_miss(town, "broker")
        await rabbitmq.start()
        await town.end_leases()
        for worker in town.workers:
            await worker.ready()
        await town.publish_numbers(range(EVENTS // 2, EVENTS))
        # Whoever stood still for longer than a lease lasts may have lost what it held.
        await all_went_well(town, duplicates_max=WORKERS * HELD_MAX)


async def events_recorded(town: Town) -> int:
    connection = await asyncpg.connect(town.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM events"))
    finally:
        await connection.close()
