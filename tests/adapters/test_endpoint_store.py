"""The one writer of endpoints: judged first, then written under the organization's lock, under the same rules for all."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.endpoints.store.changing import TRIES_MAX
from service.adapters.postgres.engine import connect, driver
from service.core.endpoints.caps import NO_CAPS
from service.core.endpoints.gates.gate import STORED
from service.core.endpoints.refusals import (
    ChangedTooOften,
    EndpointGone,
    InvalidWish,
    NoSuchEndpoint,
    NoSuchOrganization,
    OtherSecret,
)
from service.core.endpoints.settings import EndpointSettings, EndpointWish, GrantedWish
from service.core.endpoints.signing.signing import Signing
from service.core.endpoints.view import Changed, NewSecret, Registered, RemovalReason
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import LOOPBACK_ALLOWED
from tests.fakes.secret_box import PlainSecretBox
from webhook_signature.styles import STYLES

URL = "https://hooks.example.com/a"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class WatchedRules:
    """The rules, with something that happens at each judgement: in a thread, as judging itself awaits nothing."""

    caps = NO_CAPS

    def __init__(self) -> None:
        self.while_judging: Callable[[], Any] = lambda: None
        self.judged_count = 0

    def judge(
        self,
        wish: EndpointWish,
        before: EndpointSettings,
        own_event_types: Collection[str],
        former: Collection[Signing] | None = None,
        *,
        now: datetime,
    ) -> GrantedWish | InvalidWish:
        self.judged_count += 1
        with ThreadPoolExecutor(1) as aside:
            aside.submit(lambda: asyncio.run(self.while_judging())).result()
        return LOOPBACK_ALLOWED.judge(wish, before, own_event_types, former, now=now)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    await OrganizationStore(engine).create("org_1", by=SOMEBODY)
    yield engine
    await engine.dispose()


@pytest.fixture
def rules() -> WatchedRules:
    return WatchedRules()


def store_on(engine: AsyncEngine, rules: Any = LOOPBACK_ALLOWED) -> EndpointStore:
    return EndpointStore(engine, PlainSecretBox(), rules)


async def made(engine: AsyncEngine, **given: Any) -> Registered:
    found = await store_on(engine).create(
        "org_1", EndpointWish({"url": URL, "event_types": ["message.*"], **given}), by=SOMEBODY
    )
    assert isinstance(found, Registered), found
    return found


async def test_nobody_waits_while_a_change_is_judged(
    engine: AsyncEngine, database_url: str, rules: WatchedRules
) -> None:
    endpoint = (await made(engine)).endpoint

    async def take_the_lock() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("SELECT FROM organizations WHERE id = 'org_1' FOR UPDATE NOWAIT")
        finally:
            await connection.close()

    rules.while_judging = take_the_lock
    changed = await store_on(engine, rules).change(
        "org_1", endpoint.id, EndpointWish({"description": "new"}), by=SOMEBODY
    )
    assert isinstance(changed, Changed)
    assert (changed.endpoint.settings.description, rules.judged_count) == ("new", 1)


async def test_what_changed_during_the_judgement_is_judged_again(
    engine: AsyncEngine, database_url: str, rules: WatchedRules
) -> None:
    endpoint = (await made(engine)).endpoint

    async def change_once() -> None:
        if rules.judged_count == 1:
            other = connect(database_url)
            await store_on(other).change(
                "org_1", endpoint.id, EndpointWish({"event_types": ["link.clicked"]}), by=SOMEBODY
            )
            await other.dispose()

    rules.while_judging = change_once
    changed = await store_on(engine, rules).change(
        "org_1", endpoint.id, EndpointWish({"description": "new"}), by=SOMEBODY
    )
    assert isinstance(changed, Changed)
    assert (changed.endpoint.settings.event_types, changed.endpoint.settings.description) == (("link.clicked",), "new")
    assert rules.judged_count == 2


async def test_a_change_that_is_overtaken_each_time_gives_up_and_says_so(
    engine: AsyncEngine, database_url: str, rules: WatchedRules
) -> None:
    endpoint = (await made(engine)).endpoint

    async def bump() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE organizations SET directory_version = directory_version + 1")
        await connection.close()

    rules.while_judging = bump
    changed = await store_on(engine, rules).change(
        "org_1", endpoint.id, EndpointWish({"description": "new"}), by=SOMEBODY
    )
    assert changed == ChangedTooOften()
    assert rules.judged_count == TRIES_MAX


async def test_subscribing_adds_to_the_endpoint_that_has_the_url(engine: AsyncEngine) -> None:
    first = await made(engine, secret=SECRET)
    assert first.new_secret == NewSecret(SECRET)
    wish = {"url": URL, "event_types": ["message.*", "link.clicked"]}
    for secret in ({}, {"secret": SECRET}, {"secret": None}):
        found = await store_on(engine).subscribe("org_1", EndpointWish(wish | secret), by=SOMEBODY)
        assert isinstance(found, Registered)
        assert (found.endpoint.id, found.new_secret) == (first.endpoint.id, None)
        assert found.endpoint.settings.event_types == ("message.*", "link.clicked")
        assert [each.resthook for each in found.added] == (["link.clicked"] if not secret else [])


async def test_another_secret_for_a_known_url_is_refused_and_changes_nothing(engine: AsyncEngine) -> None:
    first = await made(engine)
    wish = EndpointWish({"url": URL, "event_types": ["*"], "secret": SECRET})
    assert await store_on(engine).subscribe("org_1", wish, by=SOMEBODY) == OtherSecret()
    assert await store_on(engine).find("org_1", first.endpoint.id) == first.endpoint


@pytest.mark.parametrize("verb", ["create", "subscribe"])
async def test_every_face_meets_the_same_rules(engine: AsyncEngine, verb: str) -> None:
    ask = getattr(store_on(engine), verb)
    wish = EndpointWish({"url": "https://10.0.0.1/", "event_types": ["mesage.sent"], "secret": "whsec_short"})
    refused = await ask("org_1", wish, by=SOMEBODY)
    assert isinstance(refused, InvalidWish)
    assert refused.problems.keys() == {"url", "event_types[0]", "secret"}
    assert "did you mean 'message.sent'?" in refused.problems["event_types[0]"][0]
    valid = EndpointWish({"url": URL, "event_types": ["*"]})
    assert await ask("org_unknown", valid, by=SOMEBODY) == NoSuchOrganization("org_unknown")


async def test_what_is_not_there_or_gone_takes_no_change(engine: AsyncEngine) -> None:
    store, endpoint = store_on(engine), (await made(engine)).endpoint
    assert await store.change("org_1", "ep_0", EndpointWish({}), by=SOMEBODY) == NoSuchEndpoint("ep_0")
    assert await store.set_paused("org_2", endpoint.id, is_paused=True, by=SOMEBODY) == NoSuchEndpoint(endpoint.id)
    async with driver(engine) as connection:
        await connection.execute("UPDATE subscriptions SET removed_at = now(), removed_because = 'gone'")
        await connection.execute("UPDATE endpoints SET removed_at = (SELECT removed_at FROM subscriptions)")
    assert await store.change("org_1", endpoint.id, EndpointWish({"url": "x"}), by=SOMEBODY) == EndpointGone()
    assert await store.set_paused("org_1", endpoint.id, is_paused=True, by=SOMEBODY) == EndpointGone()


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("gates", "kind", STORED),
        ("subscriptions", "removed_because", RemovalReason),
        ("endpoints", "signature_style", STYLES),
    ],
)
async def test_the_database_allows_what_the_core_names(
    engine: AsyncEngine, table: str, column: str, values: Collection[str]
) -> None:
    async with driver(engine) as connection:
        checks = await connection.fetch(
            """SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
                WHERE c.contype = 'c' AND c.conrelid = $1::regclass AND a.attname = $2""",
            table,
            column,
        )
    (check,) = checks
    assert set(re.findall(r"'([^']*)'::text", check[0])) == {str(each) for each in values}
