"""Who may ask, by which method, how often: every line of the contract that comes before the body."""

import base64
from collections.abc import Mapping, Sequence

import asyncpg
import pytest

from service.api.v2 import PREFIX
from service.core.keys.api_key import generate_key
from tests.api.entrance_rig import make_key
from tests.api.v2.surface_rig import EVENTS, RESTHOOKS, SUBSCRIBERS, TARGET, Surface, serving

pytestmark = pytest.mark.clock

UNKNOWN = generate_key(bytes(40)).text
NOT_PROVIDED = "Authentication credentials were not provided."
INVALID = "Invalid token"
EMPTY = "Invalid token header. No credentials provided."
INVALID_BASIC = "Invalid token or email"
NOT_BASE64 = "Invalid basic header. Credentials not correctly base64 encoded."
SPACES = "Invalid token header. Token string should not contain spaces."
LISTS = (RESTHOOKS, SUBSCRIBERS, EVENTS)


NOBODY: Sequence[tuple[Mapping[str, str], str]] = [
    ({}, NOT_PROVIDED),
    ({"Authorization": "Digest abc"}, NOT_PROVIDED),
    ({"Authorization": "Token"}, EMPTY),
    ({"Authorization": "token  "}, EMPTY),
    ({"Authorization": "Bearer"}, EMPTY),
    ({"Authorization": "Token a b"}, SPACES),
    ({"Authorization": "Token nobody"}, INVALID),
    ({"Authorization": f"Token {UNKNOWN}"}, INVALID),
    ({"Authorization": f"Bearer {UNKNOWN}"}, INVALID),
    ({"Authorization": "Basic"}, "Invalid basic header. No credentials provided."),
    ({"Authorization": "Basic a b"}, "Invalid basic header. Credentials string should not contain spaces."),
    ({"Authorization": "Basic !!"}, NOT_BASE64),
    ({"Authorization": "Basic /w=="}, NOT_BASE64),  # no UTF-8
    ({"Authorization": f"Basic {base64.b64encode(b'no colon').decode()}"}, NOT_BASE64),
    ({"Authorization": f"Basic {base64.b64encode(b'a@b.example:nobody').decode()}"}, INVALID_BASIC),
    ({"Authorization": f"Basic {base64.b64encode(f'api:{UNKNOWN}'.encode()).decode()}"}, INVALID_BASIC),
    ({"X-API-Key": UNKNOWN}, INVALID),
    ({"X-API-Key": ""}, INVALID),
    (
        {"Authorization": "Token \u00e9\u00e9"},
        "Invalid token header. Token string should not contain invalid characters.",
    ),
]


async def test_who_is_nobody_is_forbidden(surface: Surface) -> None:
    for path in LISTS:
        for headers, detail in NOBODY:
            async with surface.client.get(path, headers=headers) as response:
                assert (response.status, await response.json()) == (403, {"detail": detail}), headers
                assert "WWW-Authenticate" not in response.headers


async def test_every_carrier_of_a_key_works(surface: Surface) -> None:
    text = surface.key.text
    basic = base64.b64encode(f"api:{text}".encode()).decode()
    for headers in (
        {"Authorization": f"Token {text}"},
        {"Authorization": f"TOKEN {text}"},
        {"Authorization": f"Bearer {text}"},
        {"Authorization": f"Basic {basic}"},
        {"X-API-Key": text},
        {"X-API-Key": text, "Authorization": f"Token {text}"},
    ):
        status, _ = await surface.call("GET", RESTHOOKS, headers=headers)
        assert status == 200, headers


async def test_two_different_keys_are_one_too_many(surface: Surface) -> None:
    headers = surface.headers() | {"X-API-Key": surface.other_key.text}
    status, body = await surface.call("GET", RESTHOOKS, headers=headers)
    assert (status, body) == (400, {"detail": "the request carries two different API keys"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://{here}"}, 403),
        ({"Origin": "http://{here}", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "https://hooks.example", "X-Forwarded-Host": "hooks.example", "X-Forwarded-Proto": "https"}, 201),
        ({}, 201),
    ],
)
async def test_other_sites_change_nothing(surface: Surface, headers: Mapping[str, str], status: int) -> None:
    """A browser sends a stored Basic login by itself, so another site's form could subscribe or unsubscribe."""
    here = str(surface.client.make_url("/").authority)
    sent = surface.headers(**{name: value.replace("{here}", here) for name, value in headers.items()})
    body = {"resthook": "message.sent", "target_url": TARGET}
    answered, said = await surface.call("POST", SUBSCRIBERS, json=body, headers=sent)
    assert answered == status
    if status == 403:
        assert said == {"detail": "CSRF Failed: the request comes from another site."}
    assert (await surface.call("GET", RESTHOOKS, headers=sent))[0] == 200


async def test_a_revoked_and_an_expired_key_are_invalid(surface: Surface) -> None:
    await surface.sql("UPDATE api_keys SET revoked_at = now() WHERE id = $1", surface.key.key_id)
    await surface.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", surface.other_key.key_id)
    for key in (surface.key, surface.other_key):
        assert await surface.call("GET", RESTHOOKS, headers=surface.headers(key)) == (403, {"detail": INVALID})


@pytest.mark.parametrize(
    ("path", "methods", "allow"),
    [
        (RESTHOOKS, ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], "GET, HEAD, OPTIONS"),
        (RESTHOOKS.removesuffix(".json"), ["HEAD", "OPTIONS"], "GET, HEAD, OPTIONS"),
        (SUBSCRIBERS, ["PUT", "PATCH", "TRACE", "HEAD", "OPTIONS"], "GET, POST, DELETE, HEAD, OPTIONS"),
        (EVENTS, ["POST", "PUT", "DELETE"], "GET, HEAD, OPTIONS"),
        (f"{PREFIX}/resthook_subscribers/1.json", ["GET", "POST"], "DELETE, OPTIONS"),
        (f"{PREFIX}/", ["POST"], "GET, HEAD, OPTIONS"),
        (f"{PREFIX}/explorer/", ["POST"], "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_not_allowed_even_to_nobody(
    surface: Surface, path: str, methods: list[str], allow: str
) -> None:
    for method in methods:
        for headers in ({}, surface.headers()):
            async with surface.client.request(method, path, headers=headers) as response:
                assert response.status == 405
                assert (response.headers["Allow"], response.headers["Vary"]) == (allow, "Accept")
                if method != "HEAD":
                    assert await response.json() == {"detail": f'Method "{method}" not allowed.'}
        status, said = await surface.call(method, path, headers={"Authorization": "Token x"})
        assert (status, said) == (403, {"detail": INVALID} if method != "HEAD" else None)


async def test_what_needs_no_key_tells_its_methods_and_has_a_head(surface: Surface) -> None:
    for path in (f"{PREFIX}/", f"{PREFIX}/explorer/"):
        async with surface.client.options(path) as response:
            assert (response.status, response.headers["Allow"]) == (200, "GET, HEAD, OPTIONS")
        async with surface.client.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")
        assert await surface.call("OPTIONS", path, headers={"X-API-Key": "x"}) == (403, {"detail": INVALID})


async def test_every_answer_says_its_methods_and_what_it_depends_on(surface: Surface) -> None:
    wrong, key = {"Authorization": "Token x"}, surface.headers()
    for headers, path, status in (
        (key, SUBSCRIBERS, 200),
        (key, f"{SUBSCRIBERS}?id=x", 400),
        (wrong, SUBSCRIBERS, 403),
    ):
        async with surface.client.get(path, headers=headers) as response:
            assert response.status == status
            assert response.headers["Allow"] == "GET, POST, DELETE, HEAD, OPTIONS"
            assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "status", "page_status"),
    [
        ("text/html", 406, 200),
        ("text/html, application/xhtml+xml", 406, 200),
        ("image/png", 406, 406),
        ("text/*", 406, 200),
        ("application/xml;q=0.9", 406, 406),
        ("application/json", 200, 200),
        ("text/html, application/*;q=0.1", 200, 200),
        ("text/html,*/*;q=0.8", 200, 200),
        ("APPLICATION/JSON; indent=4", 200, 200),
        ("", 200, 200),
    ],
)
async def test_what_the_caller_does_not_take_is_not_acceptable(
    surface: Surface, accept: str, status: int, page_status: int
) -> None:
    refused = {"detail": "Could not satisfy the request Accept header."}
    for path, expected in ((RESTHOOKS, status), (RESTHOOKS.removesuffix(".json"), page_status)):
        async with surface.client.get(path, headers=surface.headers(Accept=accept)) as response:
            assert response.status == expected
            assert response.headers["X-RateLimit-Limit"]
            assert expected == 200 or await response.json() == refused
    if status == 406:  # before the key is looked at, and before the method
        for headers in ({}, {"Authorization": "Token x"}):
            assert await surface.call("PUT", RESTHOOKS, headers={"Accept": accept, **headers}) == (406, refused)


async def test_scopes(surface: Surface) -> None:
    denied = (403, {"detail": "You do not have permission to perform this action."})
    reader = surface.headers(await make_key(surface.engine, "org_1", ["read"]))
    writer = surface.headers(await make_key(surface.engine, "org_1", ["write"]))
    body = {"resthook": "message.sent", "target_url": TARGET}

    for path in LISTS:
        assert (await surface.call("GET", path, headers=reader))[0] == 200
        assert await surface.call("GET", path, headers=writer) == denied
    assert await surface.call("POST", SUBSCRIBERS, json=body, headers=reader) == denied
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id=1", headers=reader) == denied
    status, made = await surface.call("POST", SUBSCRIBERS, json=body, headers=writer)
    assert status == 201
    assert await surface.call("DELETE", f"{SUBSCRIBERS}?id={made['id']}", headers=writer) == (204, None)


async def test_the_throttle(database_url: str) -> None:
    async with serving(database_url, limit_per_hour=1) as surface:
        reader = surface.headers(await make_key(surface.engine, "org_1", ["read"]))
        async with surface.client.get(RESTHOOKS, headers=surface.headers()) as response:
            assert response.status == 200
            assert response.headers["X-RateLimit-Limit"] == "1"
            assert response.headers["X-RateLimit-Remaining"] == "0"
        async with surface.client.post(SUBSCRIBERS, data=b"{", headers=surface.headers()) as response:
            seconds = int(response.headers["Retry-After"])
            detail = f"Request was throttled. Expected available in {seconds} seconds."
            assert (response.status, await response.json()) == (429, {"detail": detail})
            assert 1 <= seconds <= 3_600
            assert int(response.headers["X-RateLimit-Reset"]) > 1_700_000_000
        # What is checked before: the token, the method, the permission. Another organization has its own budget.
        assert (await surface.call("GET", RESTHOOKS, headers={"Authorization": "Token x"}))[0] == 403
        for method, path, headers, status in (
            ("PUT", RESTHOOKS, surface.headers(), 405),
            ("POST", SUBSCRIBERS, reader, 403),
            ("GET", RESTHOOKS.removesuffix(".json"), surface.headers(Accept="text/html"), 200),
            ("GET", f"{PREFIX}/", surface.headers(), 200),
        ):
            async with surface.client.request(method, path, headers=headers) as response:
                assert (response.status, response.headers["X-RateLimit-Remaining"]) == (status, "0"), path
        async with surface.client.get(f"{PREFIX}/nothing.json", headers=surface.headers()) as response:
            assert response.status == 429  # no path is checked before, where there is none
            assert (await response.json())["detail"].startswith("Request was throttled. Expected available in ")
            assert response.headers["RateLimit-Policy"] == '"requests";q=1;w=3600'
        assert (await surface.call("GET", RESTHOOKS, headers=surface.headers(surface.other_key)))[0] == 200


async def test_an_unknown_path_is_not_found_in_json(surface: Surface) -> None:
    for path in ("/contacts.json", "/resthooks.xml", "/resthook_subscribers/x.json", "/static/nothing", "/%00"):
        async with surface.client.get(f"{PREFIX}{path}") as response:
            assert (response.status, await response.json()) == (404, {"detail": "Not found."}), path
            assert response.headers["X-Request-ID"]


async def test_a_database_that_is_away_is_told(database_url: str, owner_database_url: str) -> None:
    owner = await asyncpg.connect(owner_database_url)
    async with serving(database_url) as surface:
        await owner.execute("ALTER TABLE event_types RENAME TO event_types_away")
        try:
            async with surface.client.get(RESTHOOKS, headers=surface.headers()) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) >= 1
                assert await response.json() == {"detail": "The service cannot reach its database now. Try again."}
        finally:
            await owner.execute("ALTER TABLE event_types_away RENAME TO event_types")
            await owner.close()
        assert len(surface.troubles.heard) == 1
        surface.troubles.heard.clear()


async def test_a_fault_of_ours_is_told_to_the_observer_alone(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr("service.adapters.postgres.endpoints.resthooks.ResthookReader.list_events", fail)
    assert await surface.call("GET", EVENTS) == (500, {"detail": "Something went wrong on our side."})
    assert [str(error) for error in surface.troubles.heard] == ["the secret cause"]
    surface.troubles.heard.clear()
