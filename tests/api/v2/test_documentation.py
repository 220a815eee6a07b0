"""The pages for people: documentation, root and explorer, of our own files alone."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from service.api.v2 import PREFIX
from tests.api.v2.surface_rig import Surface

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NAMES = ("resthooks", "resthook_subscribers", "resthook_events")
PAGES = ("/", "/explorer/", *(f"/{name}" for name in NAMES))


class Found(HTMLParser):
    """What a page loads, links to, and has inline."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in {"meta", "link", "input"}:
            self.open.append(tag)
        if tag == "a":
            self.links.append(given["href"] or "")
        if tag in {"script", "link"}:
            self.loads.append(given.get("src") or given.get("href") or "")
            if tag == "script" and "src" not in given:
                self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("path", PAGES)
async def test_pages_stand_on_their_own(surface: Surface, path: str) -> None:
    async with surface.client.get(f"{PREFIX}{path}", headers={"Accept": BROWSER}) as response:
        assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text, here = await response.text(), response.url
    found = Found()
    found.feed(text)
    assert found.open == []
    assert found.inline == []
    assert "$" not in text
    assert found.loads
    for place in (*found.loads, *found.links):
        assert "//" not in place
        assert not place.startswith("/")  # so it holds under any prefix
        if here.join(type(here)(place)).path.startswith("/docs"):
            continue  # the native API's page and its files, which are not part of this surface
        async with surface.client.session.get(here.join(type(here)(place))) as response:
            assert response.status == 200, place
            assert "//" not in re.sub(r"https://example\.com", "", await response.text()) or place not in found.loads


ACCEPTS: Sequence[tuple[str | None, bool]] = [
    (None, True),
    ("*/*", True),
    (BROWSER, True),
    ("text/html", True),
    ("application/json", False),
    ("application/json, text/plain, */*", False),
    ("application/json;q=0.5, text/html;q=0.9", True),
    ("text/*;q=0.2, application/*", False),
    ("application/json;q=x", True),
]


async def test_a_path_without_a_suffix_is_documentation(surface: Surface) -> None:
    for name in NAMES:
        for accept, is_html in ACCEPTS:
            headers = surface.headers() | ({"Accept": accept} if accept else {})
            async with surface.client.get(f"{PREFIX}/{name}", headers=headers) as response:
                assert response.status == 200
                if is_html:
                    assert response.content_type == "text/html", accept
                    assert f"GET /api/v2/{name}.json" in await response.text()
                else:
                    assert await response.json() == [], accept
                    assert "X-RateLimit-Limit" in response.headers


async def test_documentation_needs_no_key_but_no_wrong_one(surface: Surface) -> None:
    path = f"{PREFIX}/resthooks"
    async with surface.client.get(path) as response:
        assert response.status == 200
    assert (await surface.call("GET", path, headers={"Accept": "application/json"}))[0] == 403
    for each in (path, f"{PREFIX}/", f"{PREFIX}/explorer/"):
        assert await surface.call("GET", each, headers={"X-API-Key": "x"}) == (403, {"detail": "Invalid token"})


async def test_the_root_in_json_leads_to_the_resources(surface: Surface) -> None:
    _, body = await surface.call("GET", f"{PREFIX}/", headers={"Accept": "application/json"})
    assert body == {name: str(surface.client.make_url(f"{PREFIX}/{name}")) for name in NAMES}


async def test_a_missing_slash_is_put_there(surface: Surface) -> None:
    for path in (PREFIX, f"{PREFIX}/explorer"):
        async with surface.client.get(path, headers={"Accept": BROWSER}) as response:
            assert (response.status, response.url.path) == (200, f"{path}/")


async def test_what_pages_load_has_its_type(surface: Surface) -> None:
    async with surface.client.get(f"{PREFIX}/static/explorer.js") as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
    assert (await surface.call("GET", f"{PREFIX}/static/layout.html"))[0] == 404


@pytest.mark.parametrize("path", [*PAGES, "/static/explorer.js"])
async def test_browsers_keep_pages_and_get_them_compressed(surface: Surface, path: str) -> None:
    plain = {"Accept": BROWSER, "Accept-Encoding": "identity"}
    async with surface.client.get(f"{PREFIX}{path}", headers=plain) as response:
        tag, text = response.headers["ETag"], await response.text()
        assert "Content-Encoding" not in response.headers
        assert {"Accept", "Accept-Encoding"} <= set(response.headers["Vary"].split(", "))
    async with surface.client.get(f"{PREFIX}{path}", headers=plain | {"Accept-Encoding": "gzip"}) as response:
        assert (response.headers["Content-Encoding"], response.headers["ETag"]) == ("gzip", tag)
        assert await response.text() == text
        assert int(response.headers["Content-Length"]) < len(text) / 1.5
    async with surface.client.get(f"{PREFIX}{path}", headers=plain | {"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag
