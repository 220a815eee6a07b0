"""A rehearsal from the endpoint's page: real requests to a real receiver, and a report that can be acted on."""

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.core.rehearsals import case, findings
from tests.api.whole_rig import OWNER, SETTINGS, whole_on
from tests.web.visitor import signed_in

OPEN = {"POSTHORN_ALLOW_HTTP": "true", "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Of a receiver that takes everything, forged or not."""
    monkeypatch.setattr(case, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(findings, "SLOW_ANSWER_MS", 60_000)

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=HOSTILE)

    application = web.Application()
    application.router.add_post("/hook", take)
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("/hook"))


async def test_the_report_says_what_to_mend_and_which_case_shows_it(database_url: str, url: str) -> None:
    async with whole_on(database_url, settings={**SETTINGS, **OPEN}) as whole:
        endpoint = await whole.made("POST", "/v1/endpoints", {"url": url, "event_types": ["message.sent"]})
        visitor, path = await signed_in(whole), f"/dashboard/o/{OWNER}/endpoints/{endpoint['id']}/rehearse"
        asked = await visitor.get(path)
        assert "It takes up to half a minute" in asked.words
        wrong = await visitor.post(path, {"event_type": "no.such"})
        assert (wrong.status, 'id="event_type-about"' in wrong.text) == (400, True)
        seen = await visitor.post(path, {"event_type": "message.sent"})
        assert seen.status == 200, seen.words
        assert "Your receiver would lose events, or take forged ones." in seen.words
        assert "It accepts events whose signature does not match." in seen.words
        assert "Verify the signature, and answer 400 if it does not match." in seen.words
        assert HOSTILE not in seen.text
        shown_by = set(re.findall(r'href="#(case-\w+)"', seen.text))
        assert shown_by
        assert shown_by <= set(re.findall(r'id="(case-\w+)"', seen.text))
        again = await visitor.post(path)
        assert again.status == 429
        assert "It was not rehearsed." in again.words
        assert (await whole.made("GET", "/v1/deliveries", None))["data"] == []
        key = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
        viewer = await signed_in(whole, key=key["key"])
        assert (await viewer.get(path)).status == 403
        assert (await viewer.post(path)).status == 403
