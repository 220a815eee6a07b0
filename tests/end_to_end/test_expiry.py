"""An endpoint expires in the middle of its backlog, on two running workers, and upkeep is seconds late."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from tests.end_to_end.town import ORGANIZATION, Town
from tests.end_to_end.waiting import until

EXPIRING, STAYING, WATCHING = "/ok/expiring", "/ok/staying", "/ok/watching"
BACKLOG = 200
PER_SECOND = 5


async def rows_of(town: Town, statement: str, *values: object) -> Sequence[Any]:
    connection = await asyncpg.connect(town.database_url)
    try:
        found: Sequence[Any] = await connection.fetch(statement, *values)
        return found
    finally:
        await connection.close()


async def test_no_request_begins_after_its_time_and_the_rest_of_its_backlog_is_cancelled(town: Town) -> None:
    endpoint_id = await town.add_endpoint(EXPIRING, "message.sent")
    await town.add_endpoint(STAYING, "message.sent")
    await town.add_endpoint(WATCHING, "endpoint.expired")
    await town.administration.limit_endpoint(endpoint_id, per_second=PER_SECOND)
    for _ in range(2):
        await town.start_worker()
    await town.publish([town.event(number, "message.sent") for number in range(BACKLOG)])

    def lines(path: str) -> int:
        return sum(line.path == path for line in town.ledger.lines())

    await until(lambda: lines(EXPIRING) >= 1, "it is sent its backlog, slowly", told=town.told)
    valid_until = datetime.now(UTC) + timedelta(seconds=4)
    await town.administration.end_endpoint_at(endpoint_id, valid_until)
    await until(lambda: datetime.now(UTC) > valid_until, "its time comes", told=town.told)
    await town.publish([town.event(BACKLOG, "message.sent")])
    await until(lambda: lines(STAYING) >= BACKLOG + 1, "the other gets all events", told=town.told)
    await until(lambda: lines(WATCHING) >= 1, "its end is announced", told=town.told)
    await until(town.have_all_ended, "all that was open has ended", told=town.told)

    ends = await rows_of(
        town,
        "SELECT event_id, state, reason FROM final_deliveries WHERE endpoint_id = $1",
        endpoint_id,
    )
    assert f"evt_{BACKLOG:05}" not in {row["event_id"] for row in ends}, "what came later is not for it"
    assert {(row["state"], row["reason"]) for row in ends} == {("delivered", None), ("cancelled", "endpoint_expired")}
    assert lines(EXPIRING) == sum(row["state"] == "delivered" for row in ends)
    (last,) = await rows_of(
        town,
        """SELECT max(a.started_at) AS at FROM attempts a JOIN subscriptions s ON s.id = a.subscription_id
            WHERE s.endpoint_id = $1""",
        endpoint_id,
    )
    assert last["at"] < valid_until
    views = await town.administration.list_endpoints(ORGANIZATION)
    assert [each.state for each in views if each.id == endpoint_id] == ["expired"]
