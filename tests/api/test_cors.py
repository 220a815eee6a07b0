"""Pages of other sites: none may call the API from a browser, unless its site is listed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import encode_basic_auth

from tests.api.entrance_rig import ask
from tests.api.whole_rig import OWNER, SETTINGS, SUBSCRIBERS, Whole, whole_on

SITE = "https://app.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
PATHS = ("/v1/endpoints", "/v1/endpoints/ep_1", "/api/v2/resthooks.json", "/openapi.json", "/nothing")


@asynccontextmanager
async def allowing(database_url: str, origins: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url, settings={**SETTINGS, "POSTHORN_CORS_ORIGINS": origins}) as whole:
        yield whole


def cors_of(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith("access-control-")}


async def test_it_is_off_by_default(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        for path in PATHS:
            told = await ask(whole.client, "OPTIONS", path, headers={"Origin": SITE, **PREFLIGHT})
            assert told.status in {404, 405}
            assert cors_of(told.headers) == {}
            assert "Origin" not in told.headers.get("Vary", "")
        assert cors_of((await whole.ask("GET", "/v1/me", headers={"Origin": SITE})).headers) == {}


async def test_a_listed_site_is_let_in_and_no_other(database_url: str) -> None:
    async with allowing(database_url, f"https://other.example:8443, {SITE.upper()}") as whole:
        for path in PATHS:
            told = await ask(whole.client, "OPTIONS", path, headers={"Origin": SITE, **PREFLIGHT})
            assert told.status == 204
            assert told.headers["Access-Control-Allow-Origin"] == SITE
            assert {"PUT", "PATCH", "DELETE"} <= set(told.headers["Access-Control-Allow-Methods"].split(", "))
            assert {"Authorization", "Idempotency-Key"} <= set(told.headers["Access-Control-Allow-Headers"].split(", "))
            assert "Origin" in told.headers["Vary"]
            assert "X-RateLimit-Limit" not in told.headers

            told = await whole.ask("GET", path, headers={"Origin": SITE})  # errors can be read, too
            assert told.headers["Access-Control-Allow-Origin"] == SITE
            assert "RateLimit" in told.headers["Access-Control-Expose-Headers"]
            assert "Origin" in told.headers["Vary"]

            for origin in ("https://evil.example", f"{SITE}.evil.example", "http://app.example.com", "null", "*", ""):
                told = await ask(whole.client, "OPTIONS", path, headers={"Origin": origin, **PREFLIGHT})
                assert told.status in {404, 405}, origin
                assert cors_of(told.headers) == {}
                told = await whole.ask("GET", path, headers={"Origin": origin})
                assert cors_of(told.headers) == {}
                assert "Origin" in told.headers["Vary"]  # so that no cache gives it to the listed site

        refused = await ask(whole.client, "GET", "/v1/me", headers={"Origin": SITE})
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, SITE)


@pytest.mark.parametrize(("origins", "status"), [(SITE, 201), ("*", 403), ("", 403)])
async def test_a_site_listed_by_name_may_change_things_at_api_v2(database_url: str, origins: str, status: int) -> None:
    """With a key in its own hand; a login that the browser has stored is refused to it, too."""
    async with allowing(database_url, origins) as whole:
        sent = {"Origin": SITE, "Sec-Fetch-Site": "cross-site"}
        body = {"resthook": "message.sent", "target_url": "https://hooks.example.com/a"}
        assert (await whole.ask("POST", f"{SUBSCRIBERS}.json", json=body, headers=sent)).status == status
        refused = await whole.ask("POST", f"{SUBSCRIBERS}.json", json=body, headers={"Origin": "https://evil.example"})
        assert refused.status == 403


@pytest.mark.parametrize("origins", [SITE, "*", ""])
async def test_no_other_site_uses_a_login_that_the_browser_has_stored(database_url: str, origins: str) -> None:
    """A form needs neither a preflight nor a readable answer."""
    async with allowing(database_url, origins) as whole:
        made = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
        login = {"Authorization": encode_basic_auth("anybody", whole.keys[OWNER].text)}
        form = {"resthook": "message.sent", "target_url": "https://hooks.example.com/a"}
        for site, statuses in (
            ({"Origin": SITE}, (403, 403)),
            ({"Sec-Fetch-Site": "cross-site"}, (403, 403)),
            ({}, (201, 200)),
        ):
            headers = {**login, **site}
            subscribed = await ask(whole.client, "POST", f"{SUBSCRIBERS}.json", data=form, headers=headers)
            paused = await ask(whole.client, "POST", f"/v1/endpoints/{made['id']}/pause", headers=headers)
            assert (subscribed.status, paused.status) == statuses
            assert (await ask(whole.client, "GET", "/v1/me", headers=headers)).status == 200


async def test_any_site_may_be_let_in_and_never_with_credentials(database_url: str) -> None:
    async with allowing(database_url, "*") as whole:
        for origin in (SITE, "null"):
            for told in (
                await ask(whole.client, "OPTIONS", "/v1/events", headers={"Origin": origin, **PREFLIGHT}),
                await whole.ask("GET", "/v1/me", by=OWNER, headers={"Origin": origin}),
            ):
                assert told.headers["Access-Control-Allow-Origin"] == "*"
                assert "Access-Control-Allow-Credentials" not in told.headers
