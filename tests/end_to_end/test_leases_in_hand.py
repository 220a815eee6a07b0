"""What a worker holds in memory while its endpoint is paused, or its secret is replaced, as the receiver sees it."""

import time
from datetime import timedelta

import asyncpg
import pytest

from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from service.core.endpoints.gates.gate import HEEDED_WITHIN_SECONDS
from service.core.endpoints.view import Rotated
from tests.end_to_end.town import ORGANIZATION, SECRET_KEYS, Town
from tests.end_to_end.waiting import until
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import LOOPBACK_ALLOWED

PATH = "/hang/held"
HELD = 10


async def leased(town: Town) -> int:
    connection = await asyncpg.connect(town.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM open_deliveries WHERE state = 'leased'"))
    finally:
        await connection.close()


@pytest.mark.parametrize("change", ["pause", "rotation"])
async def test_what_is_in_hand_heeds_a_pause_and_a_rotation_within_the_bound(town: Town, change: str) -> None:
    endpoint_id = await town.add_endpoint(PATH, "message.sent")
    # One request at a time, and a hung one does not count as slow: so the others stay in the worker's memory.
    await town.start_worker(
        POSTHORN_ENDPOINT_IN_FLIGHT_MAX="1",
        POSTHORN_ENDPOINT_STALL_SECONDS="30",
        POSTHORN_ATTEMPT_TIMEOUT_SECONDS="40",
        POSTHORN_LEASE_SECONDS="90",
    )
    town.receiver.answer()
    await town.publish([town.event(0, "message.sent")])
    await until(lambda: len(town.ledger.lines()) == 1, "it has answered once", told=town.told)
    town.receiver.hang()
    await town.publish([town.event(number, "message.sent") for number in range(1, 2 + HELD)])

    async def are_held() -> bool:
        return len(town.ledger.lines()) == 2 and await leased(town) == 1 + HELD

    await until(are_held, "one is in flight, the others in memory", told=town.told)
    if change == "pause":
        assert await town.administration.pause_endpoint(ORGANIZATION, endpoint_id, True)  # noqa: FBT003
    else:
        endpoints = EndpointStore(town.engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)), LOOPBACK_ALLOWED)
        rotated = await endpoints.rotate_secret(ORGANIZATION, endpoint_id, None, timedelta(0), by=SOMEBODY)
        assert isinstance(rotated, Rotated)
    answered_at = time.monotonic()
    await until(lambda: time.monotonic() > answered_at + HEEDED_WITHIN_SECONDS, "the bound has passed", told=town.told)
    town.receiver.answer()

    async def are_back() -> bool:
        return await leased(town) == 0 and (change == "pause" or len(town.ledger.lines()) >= 2 + HELD)

    await until(are_back, "what was in hand has been given back", told=town.told)
    lines = town.ledger.lines()
    assert len([line for line in lines if line.complaint is None]) == 2, "with the old secret, or at all"
    assert len(lines) == 2 if change == "pause" else all(line.complaint for line in lines[2:])
