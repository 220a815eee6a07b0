"""Lists as files: CSV and JSON lines of every list, in pieces, and cut off where they must be."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from service.api.export import export, sending
from service.api.lists.page import PageQuery
from service.ports.errors import UnavailableError
from tests.api.whole_rig import OWNER, STRANGER, Things, Whole, make_things, whole_on

pytestmark = pytest.mark.clock

LISTS = ["/v1/events", "/v1/deliveries", "/v1/endpoints", "/v1/replays", "/v1/event-types", "/v1/keys", "/v1/audit"]


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def text_of(whole: Whole, path: str, *, by: str = OWNER) -> str:
    told = await whole.ask("GET", path, by=by)
    assert told.status == 200, told.body
    return told.body.decode()


async def lines_of(whole: Whole, path: str, *, by: str = OWNER) -> list[Any]:
    return [json.loads(line) for line in (await text_of(whole, path, by=by)).splitlines()]


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def with_format(path: str, kind: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}format={kind}"


async def make_events(whole: Whole, count: int) -> None:
    data = {"message": {"text": "=1+1"}}
    for first in range(0, count, 100):
        events = [
            {"id": f"evt_{n}", "type": "mine.alone8214", "timestamp": 1_763_663_135, "data": data, "note": "+1"}
            for n in range(first, min(count, first + 100))
        ]
        await whole.made("POST", "/v1/events", {"events": events})


async def test_every_list_is_had_as_a_file(whole: Whole, things: Things) -> None:
    for path in [*LISTS, f"/v1/events/{things.event_id}/explain", "/v1/deliveries?expand=event&state=pending"]:
        page = (await whole.made("GET", f"{path}{'&' if '?' in path else '?'}limit=200", None))["data"]
        assert page, path
        lines = await lines_of(whole, with_format(path, "jsonl"))
        told = await whole.ask("GET", with_format(path, "csv"))
        names, *rows = rows_of(told.body.decode())
        moving = {"/v1/endpoints": "health", "/v1/event-types": "sample"}.get(path)  # the next answer has another one
        if moving is not None:
            page, lines = ([{**each, moving: None} for each in some] for some in (page, lines))
        assert lines == page
        assert set(page[0]) <= set(names)
        assert [row[0] for row in rows] == [str(each[names[0]]) for each in page]
        assert {len(row) for row in rows} == {len(names)}
        assert told.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
        stem = path.partition("?")[0].rpartition("/")[2]
        found = re.fullmatch(
            rf'attachment; filename="{stem}-\d{{8}}T\d{{6}}Z\.csv"', told.headers["Content-Disposition"]
        )
        assert found, told.headers["Content-Disposition"]
    assert not whole.troubles.heard


async def test_another_organizations_list_is_its_own(whole: Whole, things: Things) -> None:
    for path in ("/v1/events", "/v1/deliveries", "/v1/endpoints"):
        assert await lines_of(whole, with_format(path, "jsonl"), by=STRANGER) == []
        assert len(rows_of(await text_of(whole, with_format(path, "csv"), by=STRANGER))) == 1
    told = await whole.ask("GET", f"/v1/events/{things.event_id}/explain?format=csv", by=STRANGER)
    assert (told.status, told.json["code"]) == (404, "NOT_FOUND")


async def test_line_breaks_of_a_producer_forge_no_line(whole: Whole, things: Things) -> None:
    """A value that begins a line of its own would pass for a row, or for the cursor of a file that is not complete."""
    event = {"id": "evt_1", "type": "mine.alone8214", "timestamp": 1_763_663_135, "data": {"message": None}}
    forged = '\n{"next_cursor": "mine"}\r\n'
    body = json.dumps(event).replace('"message": null', f'"message":{forged}, "text": "a\\nb"')
    headers = {"Content-Type": "application/json"}
    made = await whole.ask("POST", "/v1/events", data=body, headers=headers)
    assert made.status < 300, made.body
    stored = await text_of(whole, "/v1/events/evt_1")
    assert forged in stored  # the producer's bytes were kept
    text = await text_of(whole, "/v1/events?event_type=mine.alone8214&format=jsonl&limit=1")
    assert "\r" not in text
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [row.get("data") for row in rows] == [{"message": {"next_cursor": "mine"}, "text": "a\nb"}]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_a_long_list_is_read_page_by_page_and_goes_on_where_it_ended(
    whole: Whole, things: Things, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    assert things.event_type == "mine.alone8214"
    await make_events(whole, 450)
    monkeypatch.setattr(export, "ROWS_MAX", 300)
    path = f"/v1/events?event_type=mine.alone8214&order=asc&format={kind}"
    ids, cursor = [], ""
    for count in (300, 150):
        text = await text_of(whole, f"{path}{cursor}")
        if kind == "csv":
            names, *rows = rows_of(text)
            assert names == ["id", "type", "timestamp", "organization_id", "test", "data", "received_at"]
            assert json.loads(rows[0][5]) == {"message": {"text": "=1+1"}}
            found = [row[0] for row in rows]
            following = found.pop().partition("cursor=")[2] if len(found) > count else ""
        else:
            lines = [json.loads(line) for line in text.splitlines()]
            following = lines.pop()["next_cursor"] if len(lines) > count else ""
            found = [each["id"] for each in lines]
        ids += found
        cursor = f"&cursor={following}"
        assert bool(following) == (count == 300)
    assert ids == [f"evt_{n}" for n in range(450)]


async def test_a_limit_is_a_page_of_it(whole: Whole, things: Things) -> None:
    assert things.event_id
    await make_events(whole, 5)
    *lines, last = await lines_of(whole, "/v1/events?format=jsonl&limit=2")
    assert len(lines) == 2
    rest = await lines_of(whole, f"/v1/events?format=jsonl&cursor={last['next_cursor']}")
    assert len(rest) == 4


@pytest.mark.parametrize("query", ["format=xml", "format=csv&cursor=nonsense", "format=csv&limit=201"])
async def test_what_cannot_be_asked_is_refused_as_always(whole: Whole, query: str) -> None:
    told = await whole.ask("GET", f"/v1/events?{query}")
    assert (told.status, told.json["code"]) == (400, "VALIDATION_ERROR")
    told = await whole.ask("GET", "/v1/deliveries/dlv_x?format=csv")
    assert (told.status, list(told.json["errors"])) == (400, ["format"])


async def test_the_head_alone_reads_a_page(whole: Whole, things: Things) -> None:
    assert things.event_id
    told = await whole.ask("HEAD", "/v1/events?format=csv")
    assert (told.status, told.body, told.headers["Content-Type"][:8]) == (200, b"", "text/csv")


async def test_each_page_counts_and_a_used_up_budget_says_where_to_go_on(database_url: str) -> None:
    async with whole_on(database_url, settings={"POSTHORN_RATE_LIMIT_PER_HOUR": "14"}) as whole:
        await make_things(whole)
        await make_events(whole, 450)
        left = int((await whole.ask("GET", "/v1/me")).headers["X-RateLimit-Remaining"])
        while left > 2:
            left = int((await whole.ask("GET", "/v1/me")).headers["X-RateLimit-Remaining"])
        *lines, last = await lines_of(whole, "/v1/events?format=jsonl")
        assert (len(lines), list(last)) == (400, ["next_cursor"])
        assert (await whole.ask("GET", "/v1/events?format=jsonl")).status == 429


class Pages:
    """An endless list; each page is read, or fails."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    async def read(self, query: PageQuery) -> bytes:
        del query
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return b'{"data":[{"id":1}],"next_cursor":"c"}'


async def test_a_database_that_goes_away_ends_the_file_early() -> None:
    query = PageQuery(format="jsonl")  # type: ignore[arg-type]
    [chunks] = [export._chunks(query, ["id"], Pages(None, None, UnavailableError("away")).read, lambda: True)]
    assert b"".join([each async for each in chunks]) == b'{"id":1}\n{"id":1}\n{"next_cursor":"c"}\n'
    with pytest.raises(UnavailableError):
        await anext(export._chunks(query, ["id"], Pages(UnavailableError("away")).read, lambda: True))
    late = export._chunks(query, ["id"], Pages().read, lambda: False)
    assert b"".join([each async for each in late]) == b'{"id":1}\n{"next_cursor":"c"}\n'


async def test_a_file_that_cannot_be_ended_is_cut_off(
    whole: Whole, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert things.event_id
    await make_events(whole, 250)
    reads = 0
    decode = export._page_of.decode

    class Breaking:
        def decode(self, page: bytes) -> Any:
            nonlocal reads
            reads += 1
            if reads > 1:
                raise RuntimeError("a fault of ours")
            return decode(page)

    monkeypatch.setattr(export, "_page_of", Breaking())
    with pytest.raises(ClientPayloadError):
        await whole.ask("GET", "/v1/events?format=csv")
    assert [*map(str, whole.troubles.heard)] == ["a fault of ours"]
    assert not sending.UNDER_WAY._counts


async def test_so_many_exports_of_an_organization_at_a_time(whole: Whole) -> None:
    with sending.UNDER_WAY.one_of(OWNER), sending.UNDER_WAY.one_of(OWNER), sending.UNDER_WAY.one_of(OWNER):
        assert (await whole.ask("GET", "/v1/events?format=csv")).status == 200
        with sending.UNDER_WAY.one_of(OWNER):
            told = await whole.ask("GET", "/v1/events?format=csv")
            assert (told.status, told.headers["Retry-After"]) == (429, "5")
            assert (await whole.ask("GET", "/v1/events?format=csv", by=STRANGER)).status == 200


async def test_nobody_reads_on_for_a_client_that_is_gone(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ended = asyncio.Event()

    async def chunks(*_: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            has_ended.set()

    monkeypatch.setattr(export, "_chunks", chunks)
    headers = {"Authorization": f"Bearer {whole.keys[OWNER].text}"}
    response = await whole.client.get("/v1/events?format=jsonl", headers=headers)
    assert await response.content.readany()
    response.close()
    async with asyncio.timeout(30):
        await has_ended.wait()
    assert not whole.troubles.heard
