import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from markupsafe import Markup

from service.adapters.postgres.requests.sessions import SessionStore
from service.api.entrance.guesses import GUESSES_BURST
from service.api.errors import ApiError
from service.core.audit.actor import POSTHORN
from service.core.session import SESSION_MAX, Guest, digest_of, new_token
from service.web.visitors import Visitors
from tests.api.whole_rig import OWNER, STRANGER, Whole
from tests.web.visitor import Visitor, operator, signed_in

HOME = f"/dashboard/o/{OWNER}/overview"


async def test_a_key_signs_in_and_shows_its_organization(whole: Whole) -> None:
    visitor = Visitor(whole.client)
    assert (await visitor.get("/dashboard")).location == "/dashboard/sign-in?next=%2Fdashboard"
    assert (await visitor.get("/dashboard/sign-in")).title == "Sign in with an API key"
    seen = await visitor.post("/dashboard/sign-in", {"key": f" {whole.keys[OWNER].text} "})
    assert (seen.status, seen.location) == (303, HOME)
    assert (await visitor.get(HOME)).title == "Webhooks go nowhere yet"
    assert (await visitor.get("/dashboard")).location == HOME


async def test_the_cookie_is_kept_from_scripts_and_other_sites(whole: Whole) -> None:
    seen = await Visitor(whole.client).post("/dashboard/sign-in", {"key": whole.keys[OWNER].text})
    cookie = seen.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    behind = await Visitor(whole.client).post(
        "/dashboard/sign-in", {"key": whole.keys[OWNER].text}, **{"X-Forwarded-Proto": "https"}
    )
    cookie = behind.headers["Set-Cookie"]
    assert cookie.startswith("__Host-posthorn=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("key", ["", "nonsense", "ph_live_0011223344556677_" + 43 * "x"])
async def test_a_wrong_key_is_told_of_in_the_form(whole: Whole, key: str) -> None:
    seen = await Visitor(whole.client).post("/dashboard/sign-in", {"key": key})
    assert seen.status == 401
    assert "This key is unknown or was revoked." in seen.text
    assert key == "" or key not in seen.text


async def test_a_key_that_may_not_read_does_not_sign_in(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["publish"]})
    seen = await Visitor(whole.client).post("/dashboard/sign-in", {"key": made["key"]})
    assert seen.status == 403
    assert "may not read" in seen.text


async def test_a_revoked_key_ends_its_session_with_the_next_request(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    visitor = await signed_in(whole, key=made["key"])
    assert (await visitor.get(HOME)).status == 200
    await whole.made("DELETE", f"/v1/keys/{made['id']}", None)
    seen = await visitor.get(f"{HOME}?state=paused")
    assert seen.location == f"/dashboard/sign-in?next={HOME.replace('/', '%2F')}%3Fstate%3Dpaused"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/dashboard/../../x\\@evil",
        "/dashboard/enter/x",
        "/dashboard/%65nter/x",
        "/dashboard/o/../enter/x",
        "/dashboard/./enter/x",
        "/dashboard/%2E%2E/docs",
        "/docs",
        "/dashboardx/",
    ],
)
async def test_signing_in_leads_to_our_own_pages_only(whole: Whole, wanted: str) -> None:
    key = {"key": whole.keys[OWNER].text}
    seen = await Visitor(whole.client).post(f"/dashboard/sign-in?next={quote(wanted, safe='')}", key)
    assert seen.location == HOME


async def test_a_new_sign_in_never_goes_on_in_an_old_session(whole: Whole) -> None:
    visitor = await signed_in(whole)
    planted = visitor.token
    await visitor.post("/dashboard/sign-in", {"key": whole.keys[OWNER].text})
    assert visitor.token != planted
    assert (await Visitor(whole.client, planted).get(HOME)).status == 303


async def test_signing_out_ends_the_session(whole: Whole) -> None:
    visitor = await signed_in(whole)
    token = visitor.token
    assert (await visitor.post("/dashboard/sign-out")).location == "/dashboard/sign-in"
    assert visitor.token is None
    assert (await Visitor(whole.client, token).get(HOME)).status == 303


async def test_a_portal_link_works_once(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/portal-links", {"scopes": ["read"], "expires_in_seconds": 60})
    path = made["url"][made["url"].index("/dashboard") :]
    head = await whole.client.head(path)
    assert (head.status, head.headers["Allow"]) == (405, "GET"), "a link that is only looked at stays unused"
    visitor = Visitor(whole.client)
    seen = await visitor.get(path)
    assert seen.status == 200
    assert seen.headers["Refresh"] == f"0; url={HOME}"
    assert seen.headers["Referrer-Policy"] == "no-referrer"
    home = await visitor.get(HOME)
    assert home.status == 200
    assert "Add endpoint" not in home.text, "no button that would be refused"
    again = await Visitor(whole.client).get(path)
    assert again.status == 410
    assert "was used or is older than 10 minutes" in again.text


async def test_a_link_may_lead_to_a_page(whole: Whole) -> None:
    for wanted, where in {f"{HOME}?period=1h": f"{HOME}?period=1h", "https://evil.example/": HOME}.items():
        made = await whole.made("POST", "/v1/portal-links", {})
        path = made["url"][made["url"].index("/dashboard") :]
        seen = await Visitor(whole.client).get(f"{path}?next={quote(wanted, safe='')}")
        assert seen.headers["Refresh"] == f"0; url={where}"


async def test_a_link_that_is_over_opens_nothing(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/portal-links", {})
    async with whole.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE web_links SET ends_at = now() - interval '1 second'")
    assert (await Visitor(whole.client).get(made["url"][made["url"].index("/dashboard") :])).status == 410


async def test_a_link_gives_no_more_than_its_key_has(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read", "admin"]})
    async with whole.client.post(
        "/v1/portal-links", json={"scopes": ["read", "write"]}, headers={"Authorization": f"Bearer {made['key']}"}
    ) as response:
        assert response.status == 403
        assert (await response.json())["errors"]["scopes"] == ["this API key cannot give what it does not have: write"]


async def test_the_key_of_a_link_ends_the_sessions_it_opened(whole: Whole) -> None:
    key = await whole.made("POST", "/v1/keys", {"scopes": ["read", "admin"]})
    async with whole.client.post(
        "/v1/portal-links", json={}, headers={"Authorization": f"Bearer {key['key']}"}
    ) as response:
        url = (await response.json())["url"]
    visitor = Visitor(whole.client)
    await visitor.get(url[url.index("/dashboard") :])
    assert (await visitor.get(HOME)).status == 200
    await whole.made("DELETE", f"/v1/keys/{key['id']}", None)
    assert (await visitor.get(HOME)).status == 303


async def test_a_session_ends_unused_and_at_the_latest(whole: Whole) -> None:
    for change in ("used_at = now() - interval '12 hours 1 second'", "ends_at = now() - interval '1 second'"):
        visitor = await signed_in(whole)
        async with whole.engine.begin() as connection:
            await connection.exec_driver_sql(f"UPDATE web_sessions SET {change}")  # noqa: S608 - our own text
        assert (await visitor.get(HOME)).status == 303


async def test_nobody_sees_another_organization(whole: Whole) -> None:
    visitor = await signed_in(whole, by=STRANGER)
    for path in (HOME, "/dashboard/o/org_none/endpoints", "/dashboard/service", "/dashboard/o/%00/endpoints"):
        assert (await visitor.get(path)).status == 404


async def test_the_foot_of_the_navigation_names_the_visitor_as_they_would(whole: Whole) -> None:
    named = await whole.made("POST", "/v1/keys", {"scopes": ["read"], "name": "ops <laptop>"})
    unnamed = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    link = await whole.made("POST", "/v1/portal-links", {"scopes": ["read"]})
    guest = Visitor(whole.client)
    await guest.get(link["url"][link["url"].index("/dashboard") :])
    for visitor, who in (
        (await signed_in(whole, key=named["key"]), "ops <laptop>"),
        (await signed_in(whole, key=unnamed["key"]), f"key …{unnamed['key'][-4:]}"),
        (guest, "portal link"),
        (await operator(whole), "operator"),
    ):
        foot = (await visitor.get(HOME)).text.partition('<div class="who">')[2]
        found = re.search(r"<span[^>]*>([^<]*)</span>", foot)
        assert found is not None
        assert Markup(found[1]).unescape() == who  # noqa: S704 - read, never shown


async def test_the_operator_sees_every_organization(whole: Whole) -> None:
    visitor = await operator(whole)
    assert (await visitor.get("/dashboard")).location == "/dashboard/service"
    assert (await visitor.get(HOME)).status == 200
    assert (await visitor.get(f"/dashboard/o/{STRANGER}/endpoints")).status == 200
    assert await SessionStore(whole.engine).revoke_made_by_command(None) == 1
    assert (await visitor.get(HOME)).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
async def test_a_form_of_another_site_changes_nothing(whole: Whole, headers: dict[str, str]) -> None:
    visitor = await signed_in(whole)
    whole.client.session.cookie_jar.clear()
    async with whole.client.post(
        "/dashboard/sign-out", headers={"Cookie": f"posthorn={visitor.token}", **headers}, allow_redirects=False
    ) as response:
        assert response.status == 403
    assert (await visitor.get(HOME)).status == 200


async def test_a_page_may_do_little_in_the_browser(whole: Whole) -> None:
    seen = await (await signed_in(whole)).get(HOME)
    policy = seen.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert seen.headers["X-Frame-Options"] == "DENY"
    assert seen.headers["X-Content-Type-Options"] == "nosniff"
    assert seen.headers["Referrer-Policy"] == "same-origin"
    assert seen.headers["Cache-Control"] == "no-store"


async def test_sessions_of_an_organization_are_bounded(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.adapters.postgres.requests.sessions.KEPT_MAX", 3)
    store = SessionStore(whole.engine)
    for number in range(6):
        await store.open(
            new_token(bytes([number]) * 32), Guest(OWNER, frozenset({"read"})), timedelta(hours=number + 1)
        )
    async with whole.engine.connect() as connection:
        found = await connection.exec_driver_sql("SELECT count(*) FROM web_sessions")
        assert found.scalar() == 3


async def test_a_page_that_fails_says_so_and_is_reported(whole: Whole) -> None:
    visitor = await signed_in(whole)
    missing = await visitor.get(f"/dashboard/o/{OWNER}/nothing")
    assert missing.status == 404
    assert "Quote <code>req_" in missing.text


async def test_what_was_done_is_said_in_words_of_our_own(whole: Whole) -> None:
    visitor = await signed_in(whole)
    assert "Endpoint removed" in (await visitor.get(f"{HOME}?done=endpoint-removed")).words
    for unknown in ("Your account is locked", "", "name", "__class__"):
        seen = await visitor.get(f"{HOME}?done={unknown}")
        assert seen.status == 200
        assert "data-done" not in seen.text


async def test_a_session_gives_no_more_than_its_key_has(whole: Whole) -> None:
    """Neither a longer life, nor a way around the key's own rate limit."""
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read", "admin"], "expires_in_days": 2})
    async with whole.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE api_keys SET rate_limit_per_hour = 60 WHERE id = $1", (made["id"],))
    visitor = await signed_in(whole, key=made["key"])
    refused = await visitor.post(f"/dashboard/o/{OWNER}/keys", {"name": "more", "scopes": "admin"})
    assert refused.status == 403
    assert "must end by" in refused.words
    given = await visitor.post(f"/dashboard/o/{OWNER}/keys", {"name": "less", "scopes": "read", "expires_in_days": "1"})
    assert given.status == 200
    async with whole.engine.connect() as connection:
        found = await connection.exec_driver_sql("SELECT rate_limit_per_hour FROM api_keys WHERE name = 'less'")
        assert [row[0] for row in found] == [60]


async def test_tokens_that_are_not_right_are_limited_and_lock_nobody_out(whole: Whole) -> None:
    visitor = await signed_in(whole)
    known = digest_of(visitor.token or "")
    visitors = Visitors(SessionStore(whole.engine), clock=lambda: 0.0)
    assert await visitors.find(known, "192.0.2.1")
    for number in range(GUESSES_BURST):
        assert await visitors.find(bytes([number]) * 32, "192.0.2.1") is None
    with pytest.raises(ApiError, match="not valid came from here"):
        await visitors.find(bytes(32), "192.0.2.1")
    with pytest.raises(ApiError, match="not valid came from here"):
        await visitors.follow(bytes(32), new_token(bytes(32)), "192.0.2.1")
    assert await visitors.find(known, "192.0.2.1")
    assert await visitors.find(bytes(32), "192.0.2.2") is None


async def test_what_a_command_made_for_an_organization_is_ended_by_one(whole: Whole) -> None:
    token = new_token(bytes(32))
    store = SessionStore(whole.engine)
    await store.make_link(token, Guest(OWNER, frozenset({"read"}), made_by="me@here"), SESSION_MAX, by=POSTHORN)
    visitor, by_key = Visitor(whole.client), await signed_in(whole)
    await visitor.get(f"/dashboard/enter/{token.text}")
    assert await store.revoke_made_by_command(STRANGER) == 0
    assert await store.revoke_made_by_command(OWNER) == 1
    assert (await visitor.get(HOME)).status == 303
    assert (await by_key.get(HOME)).status == 200
