"""Who may ask, by which method, how often: every line of the contract that comes before the body."""

import base64
from collections.abc import Mapping, Sequence

import asyncpg
import pytest

from service.api.v2 import PREFIX
from service.core.api_key import generate_key
from tests.api.entrance_rig import make_key
from tests.api.v2.surface_rig import EVENTS, RESTHOOKS, SUBSCRIBERS, TARGET, Surface, serving

pytestmark = pytest.mark.clock

UNKNOWN = generate_key(bytes(40)).text
NOT_PROVIDED = "Authentication credentials were not provided."
INVALID = "Invalid token"
EMPTY = "Invalid token header. No credentials provided."
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
    ({"Authorization": "Basic !!"}, INVALID),
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
        (RESTHOOKS, ["POST", "PUT", "PATCH", "DELETE"], "GET, HEAD, OPTIONS"),
        (SUBSCRIBERS, ["PUT", "PATCH", "TRACE"], "GET, POST, DELETE, HEAD, OPTIONS"),
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
                assert await response.json() == {"detail": f'Method "{method}" not allowed.'}
                assert response.headers["Allow"] == allow
        assert await surface.call(method, path, headers={"Authorization": "Token x"}) == (403, {"detail": INVALID})


async def test_options_tell_the_methods(surface: Surface) -> None:
    async with surface.client.options(SUBSCRIBERS) as response:
        assert (response.status, response.headers["Allow"]) == (200, "GET, POST, DELETE, HEAD, OPTIONS")
    assert await surface.call("OPTIONS", SUBSCRIBERS, headers={"X-API-Key": "x"}) == (403, {"detail": INVALID})


@pytest.mark.parametrize("path", LISTS)
async def test_head_is_get_without_a_body(surface: Surface, path: str) -> None:
    async with surface.client.get(path, headers=surface.headers()) as response:
        length = len(await response.read())
    async with surface.client.head(path, headers=surface.headers()) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers["Content-Length"] == str(length)
    async with surface.client.head(path) as response:
        assert response.status == 403


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
