"""An outage of a receiver, as its socket sees it: one probe over all workers, then a ramp, never a storm."""

import asyncio
from typing import Any

import asyncpg

from service.core.endpoints.gates.breaker import RAMP_MAX
from tests.end_to_end.town import IN_FLIGHT_MAX, Town
from tests.end_to_end.waiting import until

PATH = "/down/a"
FAILURES = 5
EVENTS = 80


async def breaker(town: Town) -> dict[str, Any]:
    connection = await asyncpg.connect(town.database_url)
    try:
        row = await connection.fetchrow(
            """SELECT b.state, b.opened_count,
                      (SELECT count(*) FROM open_deliveries o WHERE o.state = 'leased') AS leased,
                      (SELECT count(*) FROM attempts) AS attempts,
                      (SELECT count(*) FROM events) AS events
                 FROM breakers b"""
        )
    finally:
        await connection.close()
    return dict(row) if row is not None else {"state": "closed", "opened_count": 0}


async def start(town: Town) -> None:
    await town.start_worker(
        POSTHORN_BREAKER_FAILURES=str(FAILURES),
        POSTHORN_BREAKER_OPEN_SECONDS="1",
        POSTHORN_RETRY_FACTOR="1",
        POSTHORN_RETRY_ATTEMPTS_MAX="30",
    )


async def test_an_outage_is_met_with_one_probe_and_its_end_with_a_ramp(town: Town) -> None:
    await town.add_endpoint(PATH, "message.sent")
    await asyncio.gather(*(start(town) for _ in range(2)))
    await town.publish([town.event(number, "message.sent") for number in range(EVENTS)])

    async def is_quiet() -> bool:  # what was being recorded when it opened may still be sent
        now = await breaker(town)
        return now == {**now, "state": "open", "leased": 0, "attempts": len(town.ledger.lines()), "events": EVENTS}

    await until(is_quiet, "all is recorded, it is open, and nothing is in flight", told=town.told)
    told, burst = await breaker(town), len(town.ledger.lines())
    assert burst <= FAILURES + 2 * IN_FLIGHT_MAX + told["opened_count"], "the others wait without using attempts"

    async def has_probed() -> bool:
        return bool((await breaker(town))["opened_count"] >= 3)

    await until(has_probed, "it was tried, and failed", told=town.told)
    probes = town.ledger.lines()[burst:]
    assert len(probes) <= 3, f"one for each time it opened: {probes}"
    assert all(line.at_once == 1 for line in probes)
    town.receiver.answer()
    await town.all_ended()
    lines = sorted(town.ledger.lines()[burst:], key=lambda line: line.at)
    answered = [line for line in lines if line.status == 204]
    assert len(answered) == EVENTS
    # Each success allows one more; so far, no more have been answered than have come and are not there any more.
    for number, line in enumerate(answered[:RAMP_MAX]):
        assert line.at_once <= (number + 2) / 2, f"request {number} was one of {line.at_once}"
    found = await town.judge()
    assert not found.wrong(), found.wrong() + town.told()
    assert (await breaker(town))["state"] in {"ramp", "closed"}
