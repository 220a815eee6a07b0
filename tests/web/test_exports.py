"""Lists as files, through a session: with the page's filters, and safe in a spreadsheet."""

import csv
import io
import json
import re

import pytest

from service.core.session import digest_of
from tests.api.entrance_rig import sql
from tests.api.whole_rig import OWNER, STRANGER, Things, Whole, make_things
from tests.web.visitor import signed_in

BASE = f"/dashboard/o/{OWNER}"
LISTS = ("endpoints", "deliveries", "events", "replays", "event-types", "keys", "audit")
FORMULA = "=HYPERLINK(1)"
FORMULAS = (FORMULA, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\N{FULLWIDTH EQUALS SIGN}1")
BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}")


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


@pytest.mark.parametrize("name", LISTS)
async def test_every_list_leads_to_its_files(whole: Whole, things: Things, name: str) -> None:
    del things  # there is something to show
    visitor = await signed_in(whole)
    page = await visitor.get(f"{BASE}/{name}")
    for kind, content_type in (("csv", "text/csv"), ("jsonl", "application/x-ndjson")):
        assert f'href="{BASE}/{name}/export?format={kind}"' in page.text
        file = await visitor.get(f"{BASE}/{name}/export?format={kind}")
        assert (file.status, file.headers["Content-Type"].partition(";")[0]) == (200, content_type)
        assert re.fullmatch(rf'attachment; filename="{name}-\d+T\d+Z\.{kind}"', file.headers["Content-Disposition"])
        assert file.headers["Cache-Control"] == "no-store"
        asked = await whole.ask("GET", f"/v1/{name}?format={kind}")
        assert len(file.text.splitlines()) == len(asked.body.splitlines()), "the same as the API's"


async def test_a_file_has_what_the_page_shows_and_no_formula(whole: Whole, things: Things) -> None:
    await whole.made(
        "POST", "/v1/endpoints", {"url": "https://f.example/", "event_types": ["*"], "description": FORMULA}
    )
    visitor = await signed_in(whole)
    page = await visitor.get(f"{BASE}/endpoints?search=f.example")
    (path,) = re.findall(r'href="([^"]+format=csv[^"]*)"', page.text)
    (row,) = csv.DictReader(io.StringIO((await visitor.get(path.replace("&amp;", "&"))).text))
    assert (row["url"], row["description"]) == ("https://f.example/", f"'{FORMULA}")
    none = await visitor.get(f"{BASE}/deliveries/export?state=dead&format=jsonl")
    assert (none.status, none.text) == (200, "")
    waiting = await visitor.get(f"{BASE}/deliveries/export?state=pending&within=1h&format=jsonl")
    assert things.delivery_id in [json.loads(line)["id"] for line in waiting.text.splitlines()]


@pytest.mark.parametrize("formula", FORMULAS)
async def test_no_text_of_a_customer_is_a_formula_in_any_file(whole: Whole, formula: str) -> None:
    url = "https://f.example/"
    settings = {"url": url, "event_types": ["*"], "description": formula, "metadata": {"note": formula}}
    await whole.made("POST", "/v1/endpoints", settings)
    name = formula if formula.isprintable() else "a name"  # which is all that one may be
    await whole.made("POST", "/v1/keys", {"scopes": ["read"], "name": name})
    own_type = {"name": "mine.own", "description": formula, "schema": {"type": "object"}, "sample": {"note": formula}}
    await whole.made("POST", "/v1/event-types", own_type)
    event = {"id": "-1", "type": "mine.own", "timestamp": 1_763_663_135, "data": {"message": {"id": formula}}}
    await whole.made("POST", "/v1/events", event)
    visitor = await signed_in(whole)
    found = {}
    for each in LISTS:
        file = await visitor.get(f"{BASE}/{each}/export?format=csv")
        rows = list(csv.DictReader(io.StringIO(file.text, newline="")))
        assert not [cell for row in rows for cell in row.values() if cell.startswith(BEGINNINGS)], each
        found[each] = {column for row in rows for column, cell in row.items() if cell in {f"'{formula}", "'-1"}}
    assert found == {
        "endpoints": {"description"},
        "deliveries": {"event_id"},
        "events": {"id"},
        "replays": set(),
        "event-types": {"description"},
        "keys": {"name"} if name == formula else set(),
        "audit": set(),  # what was changed is JSON
    }


async def test_a_file_asked_for_with_anothers_ids_has_nothing_of_theirs(whole: Whole, things: Things) -> None:
    stranger, base = await signed_in(whole, by=STRANGER), f"/dashboard/o/{STRANGER}"
    marks = {things.endpoint_id, things.event_id, things.delivery_id, things.message_id, "mine.example"}
    for name, query in (
        ("endpoints", f"search={things.endpoint_id}"),
        ("endpoints", "failing=false&state=active"),
        ("deliveries", f"endpoint_id={things.endpoint_id}"),
        ("deliveries", f"event_id={things.event_id}"),
        ("deliveries", f"message_id={things.message_id}"),
        ("deliveries", f"event_type={things.event_type}"),
        ("deliveries", f"id={things.delivery_id}"),
        ("events", f"message_id={things.message_id}"),
        ("events", f"event_type={things.event_type}"),
        ("audit", f"object_id={things.endpoint_id}"),
        ("audit", f"actor_id={whole.keys[OWNER].key_id}"),
    ):
        for kind in ("csv", "jsonl"):
            file = await stranger.get(f"{base}/{name}/export?format={kind}&{query}")
            assert file.status == 200, (name, query)
            assert not [each for each in marks if each in file.text], (name, query)
            assert (await stranger.get(f"{BASE}/{name}/export?format={kind}&{query}")).status == 404


async def test_nobody_gets_anothers_file_and_a_wrong_filter_is_a_page(whole: Whole, things: Things) -> None:
    del things
    stranger = await signed_in(whole, by=STRANGER)
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    viewer = await signed_in(whole, key=made["key"])
    for name in LISTS:
        assert (await stranger.get(f"{BASE}/{name}/export")).status == 404
        assert (await viewer.get(f"{BASE}/{name}/export")).status == (403 if name in {"keys", "audit"} else 200)
    for query in ("state=nonsense", "format=pdf", "format=json", "cursor=nonsense"):
        seen = await viewer.get(f"{BASE}/deliveries/export?{query}")
        assert (seen.status, seen.headers["Content-Type"].partition(";")[0]) == (400, "text/html")
    await sql(whole.engine, "DELETE FROM web_sessions WHERE digest = $1 RETURNING 1", digest_of(viewer.token or ""))
    assert (await viewer.get(f"{BASE}/deliveries/export")).status == 303, "to the form to sign in"
