"""Lists: their form, their filters, their cursors, and the links between pages."""

import re
from typing import Any

import pytest
from yarl import URL

from service.api.lists.cursor import write_cursor
from service.core.events.registry import BUILT_IN
from tests.api.v2.surface_rig import EVENTS, RESTHOOKS, SUBSCRIBERS, TARGET, Surface, serving
from tests.fakes.events import body_of

pytestmark = pytest.mark.clock

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_the_envelope(surface: Surface) -> None:
    for path in (RESTHOOKS, SUBSCRIBERS, EVENTS):
        for form in ("", "/", "?cursor=", "?unknown=1"):
            async with surface.client.get(f"{path}{form}", headers=surface.headers()) as response:
                assert (response.status, response.content_type) == (200, "application/json")
                assert list(await response.json()) == ["next", "previous", "results"]


async def test_a_body_less_request_may_say_json(surface: Surface) -> None:
    made = await surface.subscribe()
    headers = surface.headers(**{"Content-type": "application/json", "Accept": "application/json"})
    status, body = await surface.call("GET", SUBSCRIBERS, headers=headers)
    assert (status, [row["id"] for row in body["results"]]) == (200, [made["id"]])
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}", headers=headers) == (204, None)


async def test_rows_have_their_keys_in_order_and_dates_six_digits(surface: Surface) -> None:
    await surface.subscribe()
    await surface.publish(1)
    for path, keys in (
        (RESTHOOKS, ["resthook", "modified_on", "created_on"]),
        (SUBSCRIBERS, ["id", "resthook", "target_url", "created_on"]),
        (EVENTS, ["resthook", "data", "created_on"]),
    ):
        _, body = await surface.call("GET", path)
        assert list(body["results"][0]) == keys
        for row in body["results"]:
            for name in {"created_on", "modified_on"} & row.keys():
                assert INSTANT.fullmatch(row[name]), row


async def test_resthooks_turn_around(surface: Surface) -> None:
    await surface.subscribe("message.failed")
    await surface.subscribe("link.clicked")
    down = [row["resthook"] for row in (await surface.call("GET", RESTHOOKS))[1]["results"]]
    assert down[:2] == ["link.clicked", "message.failed"]
    for parameter in ("reverse=true", "reverse=1", "reverse=True"):
        _, body = await surface.call("GET", f"{RESTHOOKS}?{parameter}")
        assert [row["resthook"] for row in body["results"]] == down[::-1]
    assert [row["resthook"] for row in (await surface.call("GET", f"{RESTHOOKS}?reverse=false"))[1]["results"]] == down


@pytest.mark.parametrize("reverse", ["", "&reverse=true"])
@pytest.mark.parametrize("path", [RESTHOOKS, SUBSCRIBERS, EVENTS])
async def test_pages_lead_forth_and_back(database_url: str, path: str, reverse: str) -> None:
    async with serving(database_url, page_size=2) as surface:
        for number in range(5):
            await surface.subscribe(url=f"{TARGET}/{number}")
            await surface.publish(number)
        pages: list[Any] = []
        page: Any = {}
        link = f"{path}?other=%26+x{reverse}"
        while link is not None:
            _, page = await surface.call("GET", link)
            pages.append(page["results"])
            assert page["results"]
            if page["next"] is not None:
                assert page["next"].startswith(str(surface.client.make_url(path)))
                assert URL(page["next"]).query["other"] == "& x"
            link = page["next"]
        count = len(BUILT_IN) if path == RESTHOOKS else 5
        assert [len(page) for page in pages] == [2] * (count // 2) + [1] * (count % 2)
        for expected in reversed(pages[:-1]):
            _, page = await surface.call("GET", page["previous"])
            assert page["results"] == expected
        assert page["previous"] is None
        assert (await surface.call("GET", page["next"]))[1]["results"] == pages[1]


async def test_what_comes_before_a_page_and_what_goes_from_it(database_url: str) -> None:
    async with serving(database_url, page_size=2) as surface:
        ids = [(await surface.subscribe(url=f"{TARGET}/{number}"))["id"] for number in range(4)]
        _, first = await surface.call("GET", SUBSCRIBERS)
        _, second = await surface.call("GET", first["next"])
        newer = (await surface.subscribe(url=f"{TARGET}/new"))["id"]
        _, back = await surface.call("GET", second["previous"])
        assert [row["id"] for row in back["results"]] == [ids[3], ids[2]]
        _, start = await surface.call("GET", back["previous"])
        assert [row["id"] for row in start["results"]] == [newer]
        assert start["previous"] is None

        for each in (ids[3], ids[2], newer):  # all before the second page: its previous page is the beginning
            assert (await surface.call("DELETE", f"{SUBSCRIBERS}?id={each}"))[0] == 204
        _, beginning = await surface.call("GET", second["previous"])
        assert [row["id"] for row in beginning["results"]] == [ids[1], ids[0]]
        for each in (ids[1], ids[0]):  # all after the first page
            assert (await surface.call("DELETE", f"{SUBSCRIBERS}?id={each}"))[0] == 204
        _, nothing = await surface.call("GET", first["next"])
        assert (nothing["next"], nothing["results"]) == (None, [])
        assert (await surface.call("GET", nothing["previous"]))[1] == {"next": None, "previous": None, "results": []}


BAD_CURSORS = [
    "x",
    "%F0%9F%98%80",
    write_cursor("a"),
    write_cursor("z", 1, 1),
    write_cursor("a", 1, -1),
    write_cursor("a", 1, 2**63),
    write_cursor("a", 2**62, 1),
    write_cursor("a", 2**62, "message.sent"),
    write_cursor("a", 1, "a\0b"),
    write_cursor("a", "not a uid"),
    write_cursor(1, 1, 1),
]


async def test_a_bad_cursor_is_no_page(surface: Surface) -> None:
    for path in (RESTHOOKS, SUBSCRIBERS, EVENTS):
        for cursor in BAD_CURSORS:
            found = await surface.call("GET", URL(f"{path}?cursor={cursor}", encoded=True))
            assert found == (404, {"detail": "Invalid cursor"}), (path, cursor)
        assert (await surface.call("GET", URL(f"{path}?cursor=%00", encoded=True)))[0] == 400


async def test_a_cursor_of_another_list_is_no_page(surface: Surface) -> None:
    assert (await surface.call("GET", f"{EVENTS}?cursor={write_cursor('a', 1, 1)}"))[0] == 404
    assert (await surface.call("GET", f"{SUBSCRIBERS}?cursor={write_cursor('a', 1, 'message.sent')}"))[0] == 404


async def test_a_cursor_at_the_end_of_time_is_harmless(surface: Surface) -> None:
    for microseconds in (-62_135_596_800_000_000, 253_402_300_799_999_999, 0):
        for path, rest in ((SUBSCRIBERS, 1), (RESTHOOKS, "message.sent")):
            for side in "ab":
                status, _ = await surface.call("GET", f"{path}?cursor={write_cursor(side, microseconds, rest)}")
                assert status == 200


async def test_subscribers_by_id_and_resthook(surface: Surface) -> None:
    one = await surface.subscribe()
    two = await surface.subscribe("message.failed")
    expected = {
        f"id={one['id']}": [one["id"]],
        f"id={two['id']}&resthook=message.failed": [two["id"]],
        f"id={two['id']}&resthook=message.sent": [],
        f"id=1&id={one['id']}": [one["id"]],
        "resthook=message.failed": [two["id"]],
        "resthook=MESSAGE.FAILED": [],
        "resthook=none": [],
        "resthook=": [two["id"], one["id"]],
        "id=0": [],
        "id=-1": [],
        "id=9223372036854775807": [],
        "id=9223372036854775808": [],
        f"id={'9' * 3000}": [],
    }
    for query, ids in expected.items():
        status, body = await surface.call("GET", f"{SUBSCRIBERS}?{query}")
        assert (status, [row["id"] for row in body["results"]]) == (200, ids), query
    for text in ("", "x", "1.0", "1e3", "0x1", "\u0661", "--1", "1_0", "null"):
        status, body = await surface.call("GET", URL(SUBSCRIBERS).with_query(id=text))
        assert (status, body) == (400, {"detail": "Value for id must be an integer"}), text


async def test_nul_is_refused_wherever_it_stands(surface: Surface) -> None:
    for path in (
        f"{SUBSCRIBERS}?resthook=a%00b",
        f"{EVENTS}?resthook=%00",
        f"{RESTHOOKS}?reverse=%00",
        f"{SUBSCRIBERS}?id=%00",
    ):
        status, body = await surface.call("GET", URL(path, encoded=True))
        assert status == 400, path
        assert all(isinstance(value, str | list) for value in body.values())
    for path in (f"{SUBSCRIBERS}?resthook=%ED%A0%80", f"{EVENTS}?resthook=%FF"):
        assert (await surface.call("GET", URL(path, encoded=True)))[1]["results"] == []


async def test_data_is_the_very_bytes_that_are_delivered(surface: Surface) -> None:
    body = body_of(id="evt_n").replace(
        b'"id": "msg_1"', b'"id": "msg_1", "n": [1.0, 1e400, 9007199254740993, 1E+2], "s": "\\u00e9\xc3\xa9"'
    )
    event = await surface.publish_body(body)
    async with surface.client.get(EVENTS, headers=surface.headers()) as response:
        text = await response.read()
    assert b"1e400" in event.body
    assert b'"data":' + event.body + b"," in text


async def test_events_of_own_types_are_listed_with_the_others(surface: Surface) -> None:
    await surface.add_type("acme.paid")
    event = await surface.publish(1)
    await surface.sql("UPDATE events SET event_type = 'acme.paid' WHERE event_id = $1", event.id)
    await surface.publish(2)
    _, body = await surface.call("GET", EVENTS)
    assert [row["resthook"] for row in body["results"]] == ["message.sent", "acme.paid"]
    _, body = await surface.call("GET", f"{EVENTS}?resthook=acme.paid")
    assert [row["data"]["id"] for row in body["results"]] == ["evt_1"]


async def test_a_page_has_250_rows(surface: Surface) -> None:
    await surface.sql(
        """INSERT INTO events (uid, organization_id, event_id, event_type, occurred_at, is_test, body)
           SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7000a000' ||
                   lpad(to_hex(n), 12, '0'))::uuid, 'org_1', 'e' || n, 'message.sent', now(), false, '{}'
             FROM generate_series(1, 501) AS n"""
    )
    lengths, link = [], EVENTS
    while link is not None:
        _, page = await surface.call("GET", link)
        lengths.append(len(page["results"]))
        link = page["next"]
    assert lengths == [250, 250, 1]


async def test_a_page_of_large_events_ends_early(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [await surface.publish(number) for number in range(7)]
    monkeypatch.setattr("service.adapters.postgres.endpoints.resthooks.EVENTS_BYTES_MAX", len(events[0].body) * 2 - 1)
    pages: list[list[str]] = []
    page: Any = {}
    link = EVENTS
    while link is not None:
        _, page = await surface.call("GET", link)
        pages.append([row["data"]["id"] for row in page["results"]])
        link = page["next"]
    assert pages == [["evt_6", "evt_5"], ["evt_4", "evt_3"], ["evt_2", "evt_1"], ["evt_0"]]
    for expected in reversed(pages[:-1]):
        _, page = await surface.call("GET", page["previous"])
        assert [row["data"]["id"] for row in page["results"]] == expected
    assert page["previous"] is None
