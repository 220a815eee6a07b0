"""ETag, If-Match and If-None-Match of endpoints: no update is lost, and nothing but a change stops a change."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.adapters.postgres.endpoints.gates.gates import shut_gate
from service.adapters.postgres.engine import driver
from service.core.endpoints.gates.gate import GateKind
from tests.api.endpoints_rig import Town, town_on
from tests.api.entrance_rig import Told, sql

WRITERS = 12


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def etag_of(town: Town, path: str) -> str:
    return (await town.ask("GET", path)).headers["ETag"]


async def test_who_knows_the_endpoint_is_told_so(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    first = await town.ask("GET", path)
    etag = first.headers["ETag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = await town.ask("GET", path, **{"If-None-Match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag), known
    assert (await town.ask("GET", path, **{"If-None-Match": '"other"'})).status == 200
    await town.ask("PATCH", path, {"description": "new"})
    changed = await town.ask("GET", path, **{"If-None-Match": etag})
    assert (changed.status, changed.json["description"]) == (200, "new")


async def test_what_the_road_changes_is_shown_but_stops_no_change(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    etag = await etag_of(town, path)
    async with driver(town.engine) as connection:
        await shut_gate(connection, made["id"], GateKind.DISABLED, "it failed for days")
    shown = await town.ask("GET", path, **{"If-None-Match": etag})
    assert (shown.status, shown.json["state"]) == (200, "disabled")  # no 304 hides it
    assert shown.headers["ETag"] != etag
    told = await town.ask("PATCH", path, {"description": "new"}, **{"If-Match": etag})
    assert (told.status, told.json["description"]) == (200, "new")


async def test_a_change_of_another_version_is_refused(town: Town) -> None:
    made = await town.create(description="first")
    path = f"/v1/endpoints/{made['id']}"
    etag = await etag_of(town, path)
    second = await town.ask("PATCH", path, {"description": "second"}, **{"If-Match": etag})
    assert second.status == 200
    for stale in (etag, f"W/{etag}", '"nonsense"', "unquoted", ""):
        told = await town.ask("PATCH", path, {"description": "third"}, **{"If-Match": stale})
        assert (told.status, told.json["code"]) == (412, "PRECONDITION_FAILED"), stale
        told = await town.ask("DELETE", path, **{"If-Match": stale})
        assert told.status == 412, stale
    assert (await town.get(made["id"]))["description"] == "second"
    for fresh in (second.headers["ETag"], f"W/{second.headers['ETag']}", f"{etag}, {second.headers['ETag']}", "*"):
        told = await town.ask("PATCH", path, {"description": "second"}, **{"If-Match": fresh})  # changes nothing
        assert told.status == 200, fresh
    assert (await town.ask("DELETE", path, **{"If-Match": second.headers["ETag"]})).status == 204
    assert (await town.ask("DELETE", path, **{"If-Match": second.headers["ETag"]})).status == 204  # deleted already


@pytest.mark.parametrize("change", ["pause", "rotate-secret"])
async def test_other_changes_by_people_count_too(town: Town, change: str) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    etag = await etag_of(town, path)
    assert (await town.ask("POST", f"{path}/{change}", {})).status == 200
    assert (await town.ask("PATCH", path, {"description": "x"}, **{"If-Match": etag})).status == 412


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE endpoints SET description = 'by hand' WHERE id = $1 RETURNING 1",
        "UPDATE subscriptions SET removed_at = now(), removed_because = 'deleted' WHERE endpoint_id = $1 RETURNING 1",
        "UPDATE endpoint_secrets SET expires_at = now() + interval '1 day' WHERE endpoint_id = $1 RETURNING 1",
    ],
)
async def test_whoever_writes_counts(town: Town, statement: str) -> None:
    """Also a process of the last release, or a person with psql: neither knows of versions."""
    made = await town.create(event_types=["message.sent", "link.clicked"])
    path = f"/v1/endpoints/{made['id']}"
    etag = await etag_of(town, path)
    assert await sql(town.engine, statement, made["id"]) == 1
    assert (await town.ask("PATCH", path, {"description": "x"}, **{"If-Match": etag})).status == 412


async def test_of_many_writers_with_the_same_etag_one_wins(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    for turn in range(5):
        etag = await etag_of(town, path)

        async def write(number: int, etag: str = etag, turn: int = turn) -> Told:
            return await town.ask("PATCH", path, {"description": f"{turn}.{number}"}, **{"If-Match": etag})

        told = await asyncio.gather(*map(write, range(WRITERS)))
        assert sorted(each.status for each in told) == [200] + [412] * (WRITERS - 1)
        (winner,) = (each for each in told if each.status == 200)
        assert (await town.get(made["id"]))["description"] == winner.json["description"]


async def test_no_increment_is_lost(town: Town) -> None:
    """Each writer reads, adds one, and writes with If-Match until it succeeds: every one of them is in the sum."""
    made = await town.create(metadata={"count": "0"})
    path = f"/v1/endpoints/{made['id']}"

    async def add_one() -> None:
        while True:
            read = await town.ask("GET", path)
            count = str(int(read.json["metadata"]["count"]) + 1)
            wrote = await town.ask("PATCH", path, {"metadata": {"count": count}}, **{"If-Match": read.headers["ETag"]})
            if wrote.status == 200:
                return
            assert wrote.status in {409, 412}, wrote.body

    await asyncio.gather(*(add_one() for _ in range(WRITERS)))
    assert (await town.get(made["id"]))["metadata"] == {"count": str(WRITERS)}


async def test_two_that_merge_other_keys_at_once_both_stay(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    bodies = [{"metadata": {f"key-{number}": "v"}} for number in range(WRITERS)]
    told = await asyncio.gather(*(town.ask("PATCH", path, body) for body in bodies))
    assert {each.status for each in told} == {200}
    assert len((await town.get(made["id"]))["metadata"]) == WRITERS


async def test_the_same_idempotency_key_with_another_version_is_another_request(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    named = {"Idempotency-Key": "once", "If-Match": await etag_of(town, path)}
    first = await town.ask("PATCH", path, {"description": "new"}, **named)
    again = await town.ask("PATCH", path, {"description": "new"}, **named)
    assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (200, 200, "true")
    assert again.headers["ETag"] == first.headers["ETag"]
    told = await town.ask("PATCH", path, {"description": "new"}, **{**named, "If-Match": first.headers["ETag"]})
    assert told.json["code"] == "IDEMPOTENCY_KEY_REUSED"
