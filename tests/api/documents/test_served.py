"""Documents are sent compressed, and not again to whoever has them; every GET has its HEAD."""

import gzip
import html
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.api.documents import routes
from service.api.documents.sharing import self_contained
from tests.api.entrance_rig import ask
from tests.api.tenancy import PAGES
from tests.api.whole_rig import OTHER_PARTS, SETTINGS, Whole, make_things, whole_on

DOCUMENTS = ("/openapi.json", "/asyncapi.json", "/postman.json", "/docs")


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_sent_once_and_compressed(whole: Whole, path: str) -> None:
    whole.client.session._auto_decompress = False  # to see what is sent
    plain = await ask(whole.client, "GET", path, headers={"Accept-Encoding": "identity"})
    packed = await ask(whole.client, "GET", path, headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    for each in (plain, packed):
        assert each.headers["Cache-Control"] == "no-cache"
        assert each.headers["Vary"] == "Accept-Encoding"
    tag = plain.headers["ETag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = await ask(whole.client, "GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert (await ask(whole.client, "GET", path, headers={"If-None-Match": '"other"'})).status == 200
    refused = await ask(whole.client, "GET", path, headers={"Accept-Encoding": "gzip;q=0"})
    assert refused.body == plain.body


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_the_same_from_every_process(whole: Whole, database_url: str, path: str) -> None:
    host = {"X-Forwarded-Host": "api.example"}
    async with whole_on(database_url) as another:
        tags = {(await ask(each.client, "GET", path, headers=host)).headers["ETag"] for each in (whole, another)}
    assert len(tags) == 1


async def test_the_whole_page_has_each_id_once(whole: Whole) -> None:
    ids = re.findall(r'\sid="([^"]+)"', (await ask(whole.client, "GET", "/docs")).body.decode())
    assert [each for each, count in Counter(ids).items() if count > 1] == []


async def test_a_document_has_the_base_url_that_was_asked_for(whole: Whole) -> None:
    tags = set()
    for host in ("one.example", "two.example", "one.example"):
        told = await ask(whole.client, "GET", "/openapi.json", headers={"X-Forwarded-Host": host})
        assert host in json.loads(told.body)["servers"][0]["url"]
        tags.add(told.headers["ETag"])
    assert len(tags) == 2


async def test_addresses_without_end_make_no_document_again(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(openapi: dict[str, Any]) -> dict[str, Any]:
        made.append(openapi)
        return self_contained(openapi)

    monkeypatch.setattr(routes, "self_contained", counted)
    for number in range(20):
        host = f"{number}.example"
        told = await ask(whole.client, "GET", "/postman.json", headers={"X-Forwarded-Host": host})
        assert f"http://{host}" in [each["value"] for each in json.loads(told.body)["variable"]]
    assert len(made) == 1


async def test_a_public_url_is_spelled_as_the_document_needs_it(database_url: str) -> None:
    odd = """https://a.example/it's"so"&on"""
    async with whole_on(database_url, settings={**SETTINGS, "PUBLIC_URL": odd}) as whole:
        told = await ask(whole.client, "GET", "/openapi.json")
        assert json.loads(told.body)["servers"][0]["url"] == odd
        page = await ask(whole.client, "GET", "/docs")
        assert (odd in html.unescape(page.body.decode()), odd in page.body.decode()) == (True, False)


async def test_every_get_has_its_head(whole: Whole) -> None:
    things = await make_things(whole)
    paths = {
        route.resource.canonical
        for route in whole.application.router.routes()
        if route.resource is not None and route.method == "GET" and not route.resource.canonical.startswith(PAGES)
    }
    assert len(paths) > 20
    for path in sorted(paths - {"/", "/v1/stream"}):  # which has no end
        for template, value in {**things.by_template, **OTHER_PARTS}.items():
            if path.startswith(template):
                path = path.replace(template, template[: template.rindex("{")] + value)  # noqa: PLW2901
        got, head = [await whole.ask(method, path) for method in ("GET", "HEAD")]
        assert (head.status, head.body) == (got.status, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"], path
    refused = await ask(whole.client, "HEAD", "/v1/endpoints")
    assert refused.status == 401
