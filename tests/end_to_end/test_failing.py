"""An endpoint that fails for days, on a running service. Days are made to have passed in the database."""

import asyncpg

from service.core.endpoints.gates.failing import ATTEMPTS_MIN
from tests.end_to_end.processes import Worker
from tests.end_to_end.town import ORGANIZATION, Town
from tests.end_to_end.waiting import until

WATCHING = "/ok/watching"


async def _worker(town: Town) -> Worker:
    """It judges when it starts."""
    return await town.start_worker(POSTHORN_RETRY_ATTEMPTS_MAX="1")


async def _told(town: Town, count: int) -> None:
    def has_come() -> bool:
        return sum(line.path == WATCHING for line in town.ledger.lines()) >= count

    await until(has_come, f"{count} operational events came", told=town.told)


async def test_it_is_disabled_keeps_its_backlog_and_goes_on_when_it_is_resumed(town: Town) -> None:
    failing = await town.add_endpoint("/fail-twice/days", "message.sent")
    await town.add_endpoint(WATCHING, "endpoint.*")
    dying = await _worker(town)
    await town.publish([town.event(number, "message.sent") for number in range(ATTEMPTS_MIN)])

    async def have_failed() -> bool:
        return await town.final_count() == ATTEMPTS_MIN

    await until(have_failed, "all have failed", told=town.told)
    dying.kill()
    connection = await asyncpg.connect(town.database_url)
    try:
        await connection.execute("UPDATE breakers SET failing_since = failing_since - interval '5 days'")
        await _worker(town)
        await _told(town, 1)
        await town.publish([town.event(100 + number, "message.sent") for number in range(3)])

        async def are_waiting() -> bool:
            return await town.pending_count() == 3

        await until(are_waiting, "new deliveries wait", told=town.told)
        assert await connection.fetchval("SELECT kind FROM gates WHERE endpoint_id = $1", failing) == "disabled"
        town.workers[-1].kill()
        assert await town.administration.pause_endpoint(ORGANIZATION, failing, paused=False)
        await _worker(town)
        await _told(town, 2)

        async def has_gone_out() -> bool:
            return not await town.pending_count()

        await until(has_gone_out, "the backlog goes out", told=town.told)
        types = await connection.fetch("SELECT event_type FROM events WHERE event_type LIKE 'endpoint.%' ORDER BY uid")
        assert [row["event_type"] for row in types] == ["endpoint.disabled", "endpoint.recovered"]
        assert len(await connection.fetch("SELECT FROM failing_endpoints")) == 0
    finally:
        await connection.close()
