"""What is stored sealed: every such column is known, and all of it moves to another key under whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.endpoints.secrets import keep_style, open_secrets
from service.adapters.postgres.endpoints.store import EndpointStore
from service.adapters.postgres.endpoints.version import lock_directory
from service.adapters.postgres.engine import connect, driver
from service.adapters.postgres.requests.idempotency import IdempotencyStore
from service.adapters.postgres.sealed import SEALED, count_rows, rewrap, sealed_groups, sealed_sample
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.core.endpoints.auth import OAuth2
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.signing.signing import Signing
from service.core.endpoints.view import Changed, Registered, Rotated
from service.core.walk import Walk
from service.ports.requests import Answered, Begun, NamedRequest
from tests.fakes.actor import SOMEBODY
from tests.fakes.administration import LOOPBACK_ALLOWED

ORGANIZATION = "org_1"
OLD, NEW = SecretKey("k1", b"o" * 32), SecretKey("k2", b"n" * 32)
OLD_BOX, BOTH, NEW_BOX = AesSecretBox([OLD]), AesSecretBox([NEW, OLD]), AesSecretBox([NEW])
HEADERS = {"X-Pass": "private"}
AUTH = {"type": "oauth2", "token_url": "https://auth.example.com/", "client_id": "a", "client_secret": "hunter2"}
REQUEST = NamedRequest(ORGANIZATION, "POST", "/v1/endpoints", "once", b"d" * 32)
ANSWER_ROW = {
    "organization_id": ORGANIZATION,
    "endpoint_id": "idempotency",
    "secret_id": f"POST /v1/endpoints {(b'd' * 32).hex()} once",
}


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    await OrganizationStore(engine).create(ORGANIZATION, by=SOMEBODY)
    yield engine
    await engine.dispose()


def store_on(engine: AsyncEngine, box: AesSecretBox) -> EndpointStore:
    return EndpointStore(engine, box, LOOPBACK_ALLOWED)


async def add(engine: AsyncEngine, number: int = 0, auth: object = AUTH, query: str = "") -> Registered:
    given: dict[str, Any] = {
        "url": f"https://hooks.example.com/{number}{query}",
        "event_types": ["message.*"],
        "headers": HEADERS,
    }
    given["auth"] = auth
    made = await store_on(engine, OLD_BOX).create(ORGANIZATION, EndpointWish(given), by=SOMEBODY)
    assert isinstance(made, Registered), made
    return made


def text_of(made: Registered) -> str:
    assert made.new_secret is not None
    assert made.new_secret.text is not None
    return made.new_secret.text


async def keep_answer(engine: AsyncEngine) -> None:
    store = IdempotencyStore(engine)
    begun = await store.begin(REQUEST)
    assert isinstance(begun, Begun)
    await store.keep(REQUEST, begun, 201, OLD_BOX.seal("the answer", **ANSWER_ROW))


async def rewrap_all(engine: AsyncEngine, box: AesSecretBox = BOTH, **options: Any) -> int:
    return sum([step.rewrapped_count async for step in rewrap(engine, box, by=SOMEBODY, **options)])


async def secrets_of(engine: AsyncEngine, made: Registered, box: AesSecretBox) -> list[str | None]:
    async with driver(engine) as connection:
        return list(await open_secrets(connection, box, ORGANIZATION, made.endpoint.id, are_former=False))


async def counts(engine: AsyncEngine) -> dict[tuple[str, str], int]:
    return {(group.column.one, group.key_id): group.count for group in await sealed_groups(engine)}


async def test_every_sealed_column_of_the_schema_is_in_the_list(engine: AsyncEngine) -> None:
    async with driver(engine) as connection:
        named = await connection.fetch(
            """SELECT c.table_name, c.column_name FROM information_schema.columns c
                 JOIN information_schema.tables t USING (table_schema, table_name)
                WHERE t.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name LIKE '%sealed%'"""
        )
        checked = await connection.fetch(
            """SELECT conrelid::regclass::text, attname FROM pg_constraint
                 JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
                WHERE pg_get_constraintdef(pg_constraint.oid) LIKE '%v1:%'"""
        )
        keys = {
            each.table: await connection.fetchval(
                """SELECT array_agg(attname ORDER BY array_position(conkey, attnum)) FROM pg_constraint
                     JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
                    WHERE conrelid = $1::regclass AND contype = 'p'""",
                each.table,
            )
            for each in SEALED
        }
    listed = {(each.table, each.column) for each in SEALED}
    assert {tuple(row) for row in named} == {tuple(row) for row in checked} == listed
    assert keys == {each.table: list(each.key) for each in SEALED}


async def test_everything_moves_to_the_first_key_and_still_says_the_same(engine: AsyncEngine) -> None:
    made = await add(engine, query="?token=hush")
    await keep_answer(engine)
    assert {key_id for _, key_id in await counts(engine)} == {"k1"}
    assert await rewrap_all(engine) == len(SEALED)
    assert await counts(engine) == {(each.one, "k2"): 1 for each in SEALED}
    assert await secrets_of(engine, made, NEW_BOX) == [text_of(made)]
    shown = await store_on(engine, NEW_BOX).list(ORGANIZATION, Walk(1))
    assert shown[0].settings.headers == HEADERS
    assert shown[0].settings.url == made.endpoint.settings.url == "https://hooks.example.com/0?token=hush"
    assert shown[0].settings.auth == OAuth2("https://auth.example.com/", "a", "hunter2")
    answered = await IdempotencyStore(engine).begin(REQUEST)
    assert isinstance(answered, Answered)
    assert NEW_BOX.open(answered.sealed, **ANSWER_ROW) == "the answer"
    assert await rewrap_all(engine) == 0


@pytest.mark.parametrize("batch_rows_max", [1, 2, 5, 100])
async def test_batches_are_bounded_and_may_stop_anywhere(engine: AsyncEngine, batch_rows_max: int) -> None:
    made = [await add(engine, number, query="?token=hush") for number in range(5)]
    values, rows = 4 * len(made) + 1, 4 * len(made) + 1  # of endpoints three, their secrets, and the organization's key
    read = 0
    async for step in rewrap(engine, BOTH, by=SOMEBODY, batch_rows_max=batch_rows_max):
        assert step.rows_read <= batch_rows_max
        read += step.rows_read
        if read >= 3:
            break
    assert await rewrap_all(engine, batch_rows_max=batch_rows_max) == values - read
    again = [step.rows_read async for step in rewrap(engine, BOTH, by=SOMEBODY, batch_rows_max=batch_rows_max)]
    assert (sum(again), await count_rows(engine)) == (rows, rows)
    for each in made:
        assert await secrets_of(engine, each, NEW_BOX) == [text_of(each)]


class WatchedBox(AesSecretBox):
    """Something happens between the reading of each value and its writing: in a thread, as a box awaits nothing."""

    def __init__(self, meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__([NEW, OLD])
        self._meanwhile = meanwhile

    def needs_rewrap(self, sealed: str) -> bool:
        with ThreadPoolExecutor(1) as aside:
            aside.submit(lambda: asyncio.run(self._meanwhile())).result()
        return super().needs_rewrap(sealed)


async def test_what_is_changed_meanwhile_is_not_overwritten(engine: AsyncEngine, database_url: str) -> None:
    made = await add(engine, auth=None)
    rotated: list[str] = []

    async def rotate_and_change() -> None:
        other = connect(database_url)
        store = store_on(other, OLD_BOX)
        told = await store.rotate_secret(ORGANIZATION, made.endpoint.id, None, timedelta(hours=1), by=SOMEBODY)
        assert isinstance(told, Rotated)
        assert told.new_secret.text is not None
        rotated.append(told.new_secret.text)
        wish = EndpointWish({"headers": {"X-Pass": f"number {len(rotated)}"}})
        assert isinstance(await store.change(ORGANIZATION, made.endpoint.id, wish, by=SOMEBODY), Changed)
        await other.dispose()

    # The first secret stays as it was, with another end; the headers are replaced after they were read.
    assert await rewrap_all(engine, WatchedBox(rotate_and_change)) == 1
    assert await counts(engine) == {
        ("signing secret", "k1"): 2,
        ("signing secret", "k2"): 1,
        ("endpoint's headers", "k1"): 1,
    }
    assert await rewrap_all(engine) == 3
    assert set(await secrets_of(engine, made, NEW_BOX)) == {text_of(made), *rotated}
    shown = await store_on(engine, NEW_BOX).list(ORGANIZATION, Walk(1))
    assert shown[0].settings.headers == {"X-Pass": "number 2"}


async def test_a_secret_that_ends_meanwhile_does_not_come_back(engine: AsyncEngine, database_url: str) -> None:
    made = await add(engine)

    async def end() -> None:
        other = connect(database_url)
        await store_on(other, OLD_BOX).rotate_secret(ORGANIZATION, made.endpoint.id, None, timedelta(0), by=SOMEBODY)
        await other.dispose()

    await rewrap_all(engine, WatchedBox(end))
    (secret,) = await secrets_of(engine, made, BOTH)
    assert secret not in {text_of(made), None}


async def test_who_changes_an_endpoint_and_then_its_secrets_goes_first(engine: AsyncEngine) -> None:
    """As a PATCH of ``signature_style`` does. A trigger writes a secret's endpoint: never the other way round."""
    made = await add(engine, auth=None)
    async with driver(engine) as changing, driver(engine) as watching:
        async with asyncio.timeout(60), changing.transaction():
            await lock_directory(changing, ORGANIZATION)
            await changing.execute("UPDATE endpoints SET updated_at = now() WHERE id = $1", made.endpoint.id)
            rewrapping = asyncio.create_task(rewrap_all(engine))
            while not await watching.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                pass
            await keep_style(changing, ORGANIZATION, made.endpoint.id, Signing("sha256-body", "X-Signature"))
        assert await rewrapping == 2
    assert await counts(engine) == {("signing secret", "k2"): 1, ("endpoint's headers", "k2"): 1}


async def test_what_nobody_opens_any_more_is_not_counted(engine: AsyncEngine) -> None:
    made = await add(engine)
    await store_on(engine, OLD_BOX).remove(ORGANIZATION, made.endpoint.id, by=SOMEBODY)
    assert await counts(engine) == {}
    assert await sealed_sample(engine) == []
