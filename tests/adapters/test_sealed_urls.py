"""Queries of target URLs: sealed in the database, found by a digest, and sealed later where an older release wrote them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.clear_urls import ClearUrls, count_clear_urls, seal_clear_urls
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.removal import remove_subscriptions
from service.adapters.postgres.endpoints.resthooks import ResthookReader
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.sealed import rewrap
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.core.endpoints.endpoint import Endpoint, StoredEndpoint
from service.core.endpoints.refusals import InvalidWish, UrlTaken
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.url import is_sealed
from service.core.endpoints.view import Changed, EndpointFilter, EndpointView, Registered, RemovalReason
from service.core.walk import Walk
from service.flow.directory.opening import Opening
from service.ports.errors import UrlKeyUnopenableError
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import LOOPBACK_ALLOWED

OLD, NEW = SecretKey("k1", b"o" * 32), SecretKey("k2", b"n" * 32)
BOX, BOTH, NEW_BOX = AesSecretBox([OLD]), AesSecretBox([NEW, OLD]), AesSecretBox([NEW])
URL, MASKED = "https://hooks.example.com/a?token=hush", "https://hooks.example.com/a?***"
OTHER = "https://hooks.example.com/a?token=loud"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    for name in ("org_1", "org_2"):
        await OrganizationStore(engine).create(name, by=SOMEBODY)
    yield engine
    await engine.dispose()


def store_on(engine: AsyncEngine, box: AesSecretBox = BOX) -> EndpointStore:
    return EndpointStore(engine, box, LOOPBACK_ALLOWED)


async def create(engine: AsyncEngine, url: str = URL, organization_id: str = "org_1") -> Registered:
    wish = EndpointWish({"url": url, "event_types": ["message.sent"]})
    made = await store_on(engine).create(organization_id, wish, by=SOMEBODY)
    assert isinstance(made, Registered), made
    return made


async def fetch(engine: AsyncEngine, statement: str, *values: object) -> list[Any]:
    """The first value of each row."""
    async with driver(engine) as connection:
        return [row[0] for row in await connection.fetch(statement, *values)]


async def stored_urls(engine: AsyncEngine) -> list[str]:
    urls = await fetch(engine, "SELECT url FROM endpoints ORDER BY created_at")
    targets = await fetch(engine, "SELECT target_url FROM subscriptions WHERE removed_at IS NULL ORDER BY id")
    assert targets == urls
    return urls


async def stored(engine: AsyncEngine, endpoint_id: str) -> StoredEndpoint:
    ((_, found),) = await PostgresSubscriptionStore(engine).endpoints([endpoint_id])
    return found


async def opened(engine: AsyncEngine, endpoint_id: str, box: AesSecretBox = BOX) -> Endpoint:
    return Opening(box, STANDARD)("org_1", await stored(engine, endpoint_id))


async def before_the_upgrade(engine: AsyncEngine) -> None:
    """The organization is from before revision 0023."""
    await fetch(engine, "UPDATE organizations SET seals_urls = false WHERE id = 'org_1'")


async def seal_all(engine: AsyncEngine, **options: Any) -> int:
    return sum([step.rewrapped_count async for step in seal_clear_urls(engine, BOX, by=SOMEBODY, **options)])


async def test_a_query_is_sealed_and_whole_where_it_is_needed(engine: AsyncEngine) -> None:
    made = await create(engine)
    (url,) = await stored_urls(engine)
    assert url.startswith("https://hooks.example.com/a?#")
    assert made.added[0].target_url == made.endpoint.settings.url == URL
    (shown,) = await store_on(engine).list("org_1", Walk(9))
    assert shown == made.endpoint
    (subscriber,) = await ResthookReader(engine, BOX).list_subscribers("org_1", Walk(9))
    assert subscriber == made.added[0]
    sending = await opened(engine, made.endpoint.id)
    assert (sending.url, sending.stored_url, sending.problem) == (URL, url, None)


async def test_a_url_is_found_and_cannot_be_there_twice(engine: AsyncEngine) -> None:
    first, other = await create(engine), await create(engine, OTHER)
    assert first.endpoint.id != other.endpoint.id
    assert (await create(engine)).endpoint == first.endpoint
    store = store_on(engine)
    assert [each.id for each in await store.list("org_1", Walk(9), EndpointFilter(url=OTHER))] == [other.endpoint.id]
    assert await store.list("org_1", Walk(9), EndpointFilter(url=MASKED)) == []
    again = await store.subscribe("org_1", EndpointWish({"url": URL, "event_types": ["message.sent"]}), by=SOMEBODY)
    assert isinstance(again, Registered)
    assert (again.endpoint.id, again.added) == (first.endpoint.id, ())
    taken = await store.change("org_1", other.endpoint.id, EndpointWish({"url": URL}), by=SOMEBODY)
    assert taken == UrlTaken(first.endpoint.id)
    assert len(set(await stored_urls(engine))) == 2


async def test_another_organization_with_the_url_has_another_digest(engine: AsyncEngine) -> None:
    await create(engine)
    await create(engine, organization_id="org_2")
    assert len(set(await stored_urls(engine))) == 2


async def test_an_endpoint_moves_to_a_query_and_away_from_it(engine: AsyncEngine) -> None:
    made = await create(engine, "https://hooks.example.com/a")
    for url in (URL, OTHER, "https://hooks.example.com/b"):
        changed = await store_on(engine).change("org_1", made.endpoint.id, EndpointWish({"url": url}), by=SOMEBODY)
        assert isinstance(changed, Changed)
        assert (await opened(engine, made.endpoint.id)).url == changed.endpoint.settings.url == url
        (kept,) = await stored_urls(engine)
        assert is_sealed(kept) == (url != "https://hooks.example.com/b")
    assert await fetch(engine, "SELECT sealed_url FROM endpoints") == [None]


async def test_what_lists_show_can_be_sent_back_and_is_no_url_otherwise(engine: AsyncEngine) -> None:
    made = await create(engine)
    store = store_on(engine)
    wish = EndpointWish({"url": MASKED, "description": "new"})
    changed = await store.change("org_1", made.endpoint.id, wish, by=SOMEBODY)
    assert isinstance(changed, Changed)
    assert (changed.endpoint.settings.url, changed.endpoint.settings.description) == (URL, "new")
    for other in ("https://hooks.example.com/b?***", "https://hooks.example.com/a?***&x"):
        refused = await store.change("org_1", made.endpoint.id, EndpointWish({"url": other}), by=SOMEBODY)
        assert isinstance(refused, InvalidWish if other.endswith("***") else Changed)
    not_made = await store.create("org_1", EndpointWish({"url": MASKED, "event_types": ["*"]}), by=SOMEBODY)
    assert not_made == InvalidWish({"url": ["*** stands for a query that is not shown; write the URL in full"]})


async def test_a_url_whose_key_is_missing_is_masked_stays_and_can_be_replaced(engine: AsyncEngine) -> None:
    made = await create(engine)
    (url,) = await stored_urls(engine)
    keyless = store_on(engine, NEW_BOX)
    (shown,) = await keyless.list("org_1", Walk(9))
    assert shown.settings.url == MASKED
    sending = await opened(engine, made.endpoint.id, NEW_BOX)
    assert sending.problem is not None
    assert "not in SECRET_KEYS" in sending.problem
    changed = await keyless.change("org_1", made.endpoint.id, EndpointWish({"description": "new"}), by=SOMEBODY)
    assert isinstance(changed, Changed)
    assert await stored_urls(engine) == [url]
    assert (await store_on(engine).list("org_1", Walk(9)))[0].settings.url == URL
    with pytest.raises(UrlKeyUnopenableError, match="the key of the URLs of org_1 cannot be decrypted"):
        await keyless.create("org_1", EndpointWish({"url": OTHER, "event_types": ["*"]}), by=SOMEBODY)
    moved = await keyless.change("org_1", made.endpoint.id, EndpointWish({"url": "https://b.example/"}), by=SOMEBODY)
    assert isinstance(moved, Changed)
    assert (await opened(engine, made.endpoint.id, BOX)).url == "https://b.example/"


async def test_a_sealed_url_of_another_endpoint_does_not_open(engine: AsyncEngine) -> None:
    made, other = await create(engine), await create(engine, OTHER)
    taken = "UPDATE endpoints SET sealed_url = (SELECT sealed_url FROM endpoints WHERE id = $2) WHERE id = $1"
    await fetch(engine, taken, made.endpoint.id, other.endpoint.id)
    assert (await opened(engine, made.endpoint.id)).problem is not None


async def test_another_key_seals_it_and_it_is_still_found(engine: AsyncEngine) -> None:
    made = await create(engine)
    urls = await stored_urls(engine)
    assert sum([step.rewrapped_count async for step in rewrap(engine, BOTH, by=SOMEBODY)]) == 3
    assert await stored_urls(engine) == urls
    (found,) = await store_on(engine, NEW_BOX).list("org_1", Walk(9), EndpointFilter(url=URL))
    assert (found.id, found.settings.url) == (made.endpoint.id, URL)


async def test_a_410_ends_the_subscription_unless_it_came_from_the_url_before(engine: AsyncEngine) -> None:
    made = await create(engine)
    number, (before,) = made.added[0].id, await stored_urls(engine)
    await store_on(engine).change("org_1", made.endpoint.id, EndpointWish({"url": OTHER}), by=SOMEBODY)
    (after,) = await stored_urls(engine)
    async with driver(engine) as connection:
        for url, ended in ((before, []), (after, [number])):
            gone = await remove_subscriptions(connection, [number], because=RemovalReason.GONE, leading_to=[url])
            assert list(gone) == ended


# ------------------------------------------------------------------ from the release before


async def from_before(engine: AsyncEngine) -> tuple[EndpointView, EndpointView]:
    """Two endpoints in clear; the second was verified, and has moved, so that an ended subscription led elsewhere."""
    await before_the_upgrade(engine)
    first, second = (await create(engine)).endpoint, (await create(engine, "https://b.example/?before=hush")).endpoint
    store = store_on(engine)
    for types in (["message.sent", "link.clicked"], ["message.sent"]):
        await store.change("org_1", second.id, EndpointWish({"event_types": types}), by=SOMEBODY)
    await store.change("org_1", second.id, EndpointWish({"url": OTHER}), by=SOMEBODY)
    await fetch(
        engine,
        """UPDATE endpoints SET verified_at = now(), verified_url_digest = sha256(convert_to(url, 'UTF8'))
            WHERE id = $1""",
        second.id,
    )
    return first, second


async def whole_database(engine: AsyncEngine) -> str:
    tables = await fetch(engine, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return "\n".join([text for each in tables for text in await fetch(engine, f'SELECT t::text FROM "{each}" t')])  # noqa: S608


async def test_what_is_in_clear_stays_so_until_it_is_sealed(engine: AsyncEngine) -> None:
    """Processes of the release before go on delivering to it."""
    first, second = await from_before(engine)
    assert await stored_urls(engine) == [URL, OTHER]
    assert await count_clear_urls(engine) == ClearUrls(1, 2, 1)
    assert (await opened(engine, first.id)).url == URL
    assert (await create(engine)).endpoint.id == first.id
    versions = await fetch(engine, "SELECT directory_version FROM organizations WHERE id = 'org_1'")

    assert await seal_all(engine) == 3  # two endpoints, and a subscription that ended before a move

    assert await count_clear_urls(engine) == ClearUrls(0, 0, 0)
    assert "hush" not in await whole_database(engine)
    assert all(map(is_sealed, await stored_urls(engine)))
    assert await fetch(engine, "SELECT directory_version FROM organizations WHERE id = 'org_1'") > versions
    assert ((await opened(engine, first.id)).url, (await opened(engine, second.id)).url) == (URL, OTHER)
    shown = {each.id: each for each in await store_on(engine).list("org_1", Walk(9))}
    assert shown[second.id].verified_at is not None
    assert (await create(engine, OTHER)).endpoint.id == second.id
    assert await seal_all(engine) == 0
    assert await fetch(engine, "SELECT count(*) FROM audit_log WHERE operation = 'secrets.rewrap'") == [1]


@pytest.mark.parametrize("batch_rows_max", [1, 2])
async def test_sealing_may_stop_anywhere(engine: AsyncEngine, batch_rows_max: int) -> None:
    await from_before(engine)
    async for step in seal_clear_urls(engine, BOX, by=SOMEBODY, batch_rows_max=batch_rows_max):
        assert (step.rows_read, step.rewrapped_count) == (batch_rows_max, batch_rows_max)
        break
    assert await seal_all(engine, batch_rows_max=batch_rows_max) == 3 - batch_rows_max
    assert "hush" not in await whole_database(engine)


async def test_who_changes_an_endpoint_meanwhile_goes_first(engine: AsyncEngine) -> None:
    first, _ = await from_before(engine)
    async with driver(engine) as changing, driver(engine) as watching:
        async with asyncio.timeout(60), changing.transaction():
            await changing.execute("SELECT FROM organizations WHERE id = 'org_1' FOR NO KEY UPDATE")
            sealing = asyncio.create_task(seal_all(engine))
            while not await watching.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                pass
            for table, column, key in (("endpoints", "url", "id"), ("subscriptions", "target_url", "endpoint_id")):
                moved = f"UPDATE {table} SET {column} = 'https://c.example/' WHERE {key} = $1"  # noqa: S608
                await changing.execute(moved, first.id)
        await sealing
    assert (await opened(engine, first.id)).url == "https://c.example/"
    assert await count_clear_urls(engine) == ClearUrls(0, 0, 0)


async def test_two_runs_beside_each_other_digest_no_digest(engine: AsyncEngine) -> None:
    """Of what a run that died has left: an ended subscription in clear."""
    await from_before(engine)
    await seal_all(engine)
    ended = "SELECT target_url FROM subscriptions WHERE removed_at IS NOT NULL"
    sealed = await fetch(engine, ended)
    await fetch(
        engine, "UPDATE subscriptions SET target_url = 'https://b.example/?before=hush' WHERE removed_at < now()"
    )
    assert await count_clear_urls(engine) == ClearUrls(0, 0, 1)
    async with driver(engine) as holding, driver(engine) as watching:
        async with asyncio.timeout(60), holding.transaction():
            await holding.execute("SELECT FROM organizations WHERE id = 'org_1' FOR NO KEY UPDATE")
            runs = [asyncio.create_task(seal_all(engine)) for _ in range(2)]
            while await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < len(runs):
                pass
        assert sorted(await asyncio.gather(*runs)) == [0, 1]
    assert await fetch(engine, ended) == sealed
    assert await count_clear_urls(engine) == ClearUrls(0, 0, 0)


async def test_an_organization_whose_key_is_missing_holds_up_no_other(engine: AsyncEngine) -> None:
    await create(engine, OTHER)
    await before_the_upgrade(engine)
    await create(engine)
    await fetch(engine, "UPDATE organizations SET seals_urls = false")
    made = await create(engine, organization_id="org_2")
    steps = [step async for step in seal_clear_urls(engine, NEW_BOX, by=SOMEBODY)]
    assert [(step.rows_read, step.rewrapped_count) for step in steps] == [(2, 1)]
    (why,) = steps[0].left
    assert why.startswith("the key of the URLs of org_1 cannot be decrypted: the key that sealed")
    (shown,) = await store_on(engine, NEW_BOX).list("org_2", Walk(9), EndpointFilter(url=URL))
    assert (shown.id, shown.settings.url) == (made.endpoint.id, URL)
    assert is_sealed((await stored(engine, made.endpoint.id)).url)
    assert await count_clear_urls(engine) == ClearUrls(0, 1, 0)
    assert await seal_all(engine) == 1


async def test_a_process_of_the_release_before_leaves_nothing_wrong(engine: AsyncEngine) -> None:
    """It writes the URL as it reads it, or another one in clear, and knows nothing of what is sealed."""
    made = await create(engine)
    await fetch(engine, "UPDATE endpoints SET description = 'new', url = url WHERE id = $1", made.endpoint.id)
    assert (await opened(engine, made.endpoint.id)).url == URL
    moved = "UPDATE endpoints SET url = 'https://b.example/?token=hush' WHERE id = $1"
    await fetch(engine, moved, made.endpoint.id)
    assert (await opened(engine, made.endpoint.id)).url == "https://b.example/?token=hush"
    assert await seal_all(engine) == 1
    assert (await opened(engine, made.endpoint.id)).url == "https://b.example/?token=hush"


async def test_what_it_made_twice_stays_in_clear_and_is_counted(engine: AsyncEngine) -> None:
    made = await create(engine)
    twin = "INSERT INTO endpoints (id, organization_id, url) VALUES ('ep_twin', 'org_1', $1)"
    await fetch(engine, twin, URL)
    (step,) = [step async for step in seal_clear_urls(engine, BOX, by=SOMEBODY)]
    assert (step.rewrapped_count, step.left) == (0, [f"ep_twin has the URL of {made.endpoint.id}"])
    assert await count_clear_urls(engine) == ClearUrls(0, 1, 0)
    await store_on(engine).remove("org_1", made.endpoint.id, by=SOMEBODY)
    assert await seal_all(engine) == 1
