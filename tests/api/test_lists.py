"""What every list of ``/v1`` offers, found in the document: a new list is held to it by itself."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from service.adapters.postgres.engine import driver
from service.api.documents.sharing import operations_of, self_contained
from service.core.events.registry import BUILT_IN
from service.core.events.view import PAGE_BYTES_MAX
from tests.api.documents.test_documents import fetch
from tests.api.whole_rig import OWNER, Whole, make_things, whole_on

pytestmark = pytest.mark.clock

CHANGING = {"health", "sample"}
"""Parts of rows that the next answer has another value for."""
PAGES_MAX = 300


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


def lists_in(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Path, operation and page of each operation that answers a page."""
    whole = self_contained(document)
    for path, method, operation in operations_of(whole):
        for answer in operation["responses"].values():
            for kind, content in answer.get("content", {}).items():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                page = document["components"]["schemas"].get(name, {})
                if kind == "application/json" and "next_cursor" in page.get("properties", {}):
                    assert (method, path[:4]) == ("get", "/v1/")
                    yield path, operation, page


async def test_every_list_of_the_document_can_be_turned_and_read_backwards(whole: Whole) -> None:
    lists = list(lists_in(await fetch(whole, "/openapi.json")))
    assert len(lists) >= 10
    for path, operation, page in lists:
        parameters = {each["name"]: each["schema"] for each in operation["parameters"]}
        assert {"limit", "cursor", "format", "order"} <= parameters.keys(), path
        assert parameters["order"]["enum"] == ["asc", "desc"], path
        assert {"data", "has_more", "next_cursor", "prev_cursor"} <= set(page["required"]), path


async def test_every_list_read_forwards_and_back_has_each_row_once(whole: Whole) -> None:
    things = await make_things(whole)
    for number in (2, 3):
        await make_things(whole, url=f"https://mine.example/{number}", number=number)
    await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    for template, _, _ in lists_in(await fetch(whole, "/openapi.json")):
        path = template
        for name, value in things.by_template.items():
            path = path.replace(name, f"{name.rpartition('/')[0]}/{value}")
        forwards = await walked(whole, path, "", "next_cursor")
        assert len(forwards) >= 3, path
        default, turned = [await walked(whole, path, f"&order={order}", "next_cursor") for order in ("asc", "desc")]
        assert forwards in (default, turned), path
        assert turned == default[::-1], path
        first, *_ = [page async for page in pages(whole, path, "", "next_cursor")]
        assert first["prev_cursor"] is None, path
        last = [page async for page in pages(whole, path, "", "next_cursor")][-1]
        cursor = f"&cursor={last['prev_cursor']}"
        assert await walked(whole, path, cursor, "prev_cursor") == forwards[:-1][::-1], path


async def pages(whole: Whole, path: str, query: str, link: str) -> AsyncIterator[dict[str, Any]]:
    """Pages of one row, each by the cursor of the one before."""
    for _ in range(PAGES_MAX):
        page: dict[str, Any] = await whole.made("GET", f"{path}?limit=1{query}", None)
        yield page
        if page[link] is None:
            return
        query = "".join(f"&{each}" for each in query.split("&") if each.startswith("order")) + f"&cursor={page[link]}"
    raise AssertionError(f"{path} does not come to an end")


async def walked(whole: Whole, path: str, query: str, link: str) -> list[Any]:
    """The rows of all pages, without what changes by itself."""
    found = []
    async for page in pages(whole, path, query, link):
        assert len(page["data"]) <= 1
        found += [{name: value for name, value in row.items() if name not in CHANGING} for row in page["data"]]
    return found


LARGE_TYPES = """
INSERT INTO event_types (organization_id, name, description, schema, sample)
SELECT $1, 'large.n' || n, '', format('{"type":"object","description":"%s"}', repeat('x', 32000)),
       format('{"a":"%s"}', repeat('x', 16000)) FROM generate_series(100, 299) AS n
"""


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_of_large_event_types_ends_early_and_their_names_are_light(whole: Whole, order: str) -> None:
    async with driver(whole.engine) as connection:
        await connection.execute(LARGE_TYPES, OWNER)
    seen, cursor, pages_read = list[str](), "", 0
    while cursor is not None:
        told = await whole.ask(
            "GET", f"/v1/event-types?limit=200&order={order}&cursor={cursor}".removesuffix("&cursor=")
        )
        assert told.status == 200, told.body
        assert len(told.body) < PAGE_BYTES_MAX + 200_000
        seen += [each["name"] for each in told.json["data"]]
        cursor, pages_read = told.json["next_cursor"], pages_read + 1
    expected = [*BUILT_IN, *(f"large.n{n}" for n in range(100, 300))]
    assert seen == (expected if order == "asc" else expected[::-1])
    assert pages_read == 3
    names = await whole.ask("GET", f"/v1/event-types/names?limit=200&order={order}")
    assert [each["name"] for each in names.json["data"]] == seen[:200]
    assert len(names.body) < 50_000
