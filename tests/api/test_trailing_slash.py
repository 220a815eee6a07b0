"""A path with a slash too many leads to the one without, with the same method, body and query, and to no other host."""

from collections.abc import AsyncIterator
from urllib.parse import urljoin

import pytest

from tests.api.whole_rig import Whole, whole_on

PUBLIC = "https://example.org/webhooks"


@pytest.fixture(scope="module")
async def whole(migrated_database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(migrated_database_url) as whole:
        yield whole


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/docs/", "/docs"),
        ("/v1/endpoints/", "/v1/endpoints"),
        ("/v1/endpoints/?limit=5&state=active", "/v1/endpoints?limit=5&state=active"),
        ("/v1/endpoints/ep_1/", "/v1/endpoints/ep_1"),
        ("/v1/deliveries/a%2F%2Fb/replay/", "/v1/deliveries/a%2F%2Fb/replay"),
        ("/v1/endpoints/%2F%2Fevil.example/", "/v1/endpoints/%2F%2Fevil.example"),
    ],
)
async def test_it_is_dropped(whole: Whole, method: str, path: str, meant: str) -> None:
    told = await whole.ask(method, path)
    location = told.headers["Location"]
    assert told.status == 308
    assert urljoin(f"http://here.example{path}", location) == f"http://here.example{meant}"
    assert urljoin(PUBLIC + path, location) == PUBLIC + meant  # behind a proxy with a path prefix, too
    assert int(told.headers["X-RateLimit-Remaining"]) < int(told.headers["X-RateLimit-Limit"])


@pytest.mark.parametrize("path", ["/v1//evil.example/", "/v1/endpoints//", "/v1/nothing/", "/docs//"])
async def test_what_leads_nowhere_without_it_leads_nowhere_with_it(whole: Whole, path: str) -> None:
    told = await whole.ask("GET", path)
    assert told.status == 404
    assert "Location" not in told.headers


async def test_whoever_follows_gets_the_answer(whole: Whole) -> None:
    async with whole.client.get("/docs/") as page:
        assert (page.status, page.content_type) == (200, "text/html")
    made = await whole.client.post("/v1/events/", json={}, headers={"Authorization": "Bearer none"})
    assert (made.status, made.method) == (401, "POST")
