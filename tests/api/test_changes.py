"""What every change leaves behind: a new version of the directory, which workers compare, and no secret in the clear."""

import base64
from collections.abc import AsyncIterator

import pytest

from service.adapters.postgres.engine import driver
from tests.api.entrance_rig import sql
from tests.api.tenancy import Territory, path_of
from tests.api.whole_rig import OTHER_PARTS, OWNER, SUBSCRIBERS, Things, Whole, make_things, whole_on
from tests.end_to_end.known_ids import all_operations

REPLAYS = {"create_replay", "recover_endpoint", "pause_replay", "resume_replay", "cancel_replay"}
KEYS = {"create_key", "rotate_key", "revoke_key"}  # looked up at each request
CHANGES_NO_DIRECTORY = {
    "publish_events",
    "replay_delivery",
    "test_endpoint",
    "rehearse_endpoint",
    "check_endpoint",
    "create_portal_link",
    *REPLAYS,
    *KEYS,
}
SECRET = "whsec_" + base64.b64encode(b"a secret that nobody may read..").decode()
HEADER_VALUE = "Basic-cHJpdmF0ZS1wYXNz"
NAMED = {"Idempotency-Key": "named"}


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def test_every_change_makes_a_new_version_of_the_directory(whole: Whole, things: Things) -> None:
    """Without it, workers go on with what they have in memory."""
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    writing = [each for each in all_operations() if each.changes and each.name not in CHANGES_NO_DIRECTORY]
    requests: list[tuple[str, str, object]] = [
        (each.method, path_of(each.path, territory), each.example)
        for each in sorted(writing, key=lambda each: each.method == "DELETE")
    ]
    subscriber = {"resthook": "link.clicked", "target_url": "https://two.example/"}
    subscribers = f"{SUBSCRIBERS}.json"
    # First, while its endpoint is there.
    requests[:0] = [("DELETE", f"{subscribers}?id={things.subscriber_id}", None), ("POST", subscribers, subscriber)]
    for method, path, body in requests:
        before = await sql(whole.engine, "SELECT directory_version FROM organizations WHERE id = $1", OWNER)
        await whole.made(method, path, body)
        after = await sql(whole.engine, "SELECT directory_version FROM organizations WHERE id = $1", OWNER)
        assert after > before, (method, path)


async def test_no_table_keeps_a_secret_in_the_clear(whole: Whole) -> None:
    """Not what a caller sent, nor what it was shown, nor the answer that an Idempotency-Key keeps."""
    asked = {"url": "https://s.example/", "event_types": ["message.sent"], "headers": {"X-Pass": HEADER_VALUE}}
    made = await whole.made("POST", "/v1/endpoints", {**asked, "secret": SECRET}, **NAMED)
    assert made["secret"] == SECRET
    path = f"/v1/endpoints/{made['id']}"
    rotated = await whole.made("POST", f"{path}/rotate-secret", {}, **NAMED)
    await whole.made("PATCH", path, {"headers": {"X-Pass": "***", "X-Other": HEADER_VALUE[::-1]}}, **NAMED)
    subscriber = {"resthook": "link.clicked", "target_url": "https://two.example/"}
    subscribed = await whole.made("POST", f"{SUBSCRIBERS}.json", subscriber, **NAMED)
    new_key = await whole.made("POST", "/v1/keys", {"scopes": ["read"]}, **NAMED)
    next_key = await whole.made("POST", f"/v1/keys/{new_key['id']}/rotate", {}, **NAMED)
    kept = await everything_in(whole)
    assert made["id"] in kept
    secrets = [SECRET, rotated["secret"], subscribed["secret"], HEADER_VALUE, HEADER_VALUE[::-1], *keys_of(whole)]
    secrets += [each["key"].split("_", 3)[3] for each in (new_key, next_key)]
    for secret in secrets:
        text = secret.removeprefix("whsec_")
        for form in (text, text.encode().hex(), base64.b64encode(text.encode()).decode().rstrip("=")):
            assert form not in kept


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("/v1/endpoints", {"url": "https://s.example/", "event_types": ["message.sent"], "secret": f"{SECRET}!"}),
    ("/v1/endpoints", {"url": "https://s.example/", "event_types": ["*"], "headers": {"X-Pass": f"{SECRET}\n"}}),
    ("/v1/endpoints", {"url": "https://s.example/", "event_types": ["*"], "headers": {"X-Pass": [SECRET]}}),
    ("/v1/endpoints", {"url": "https://s.example/", "event_types": ["*"], "secret": [SECRET]}),
    ("/v1/endpoints", {"url": f"https://u:{SECRET}@s.example/", "event_types": ["*"]}),
    ("/v1/endpoints/{id}/rotate-secret", {"secret": f"{SECRET}!"}),
    (f"{SUBSCRIBERS}.json", {"resthook": "link.clicked", "target_url": "https://t.example/", "secret": f"{SECRET}!"}),
    (f"{SUBSCRIBERS}.json", {"resthook": "link.clicked", "target_url": f"https://u:{SECRET}@t.example/"}),
]


async def test_no_error_quotes_a_secret(whole: Whole, things: Things) -> None:
    for path, body in REFUSED:
        told = await whole.ask("POST", path.format(id=things.endpoint_id), json=body)
        assert told.status == 400, (path, told.body)
        assert SECRET[6:] not in told.body.decode(), (path, told.body)


def keys_of(whole: Whole) -> list[str]:
    return [key.text.split("_", 3)[3] for key in whole.keys.values()]


async def everything_in(whole: Whole) -> str:
    """Every row of every table, as text."""
    async with driver(whole.engine) as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
        rows = [
            row["text"]
            for table in tables
            for row in await connection.fetch(f'SELECT t::text AS text FROM "{table["relname"]}" t')  # noqa: S608
        ]
    return "\n".join(rows)
