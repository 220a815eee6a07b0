"""The inbox of docs/receiving.md, on a real PostgreSQL: two copies at once are handled once, late events change nothing."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text("utf-8")
SQL: dict[str, str] = dict(re.findall(r"^```sql name=(\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))

BODY = b'{"type":"message.sent"}'
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


IS_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
async def inbox_url(postgres_server_url: str) -> AsyncIterator[str]:
    """A database that a receiver has for itself."""
    name = f"inbox_{secrets.token_hex(4)}"
    server = await asyncpg.connect(postgres_server_url)
    await server.execute(f'CREATE DATABASE "{name}"')
    try:
        yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await server.close()


def test_every_statement_is_tested() -> None:
    assert set(SQL) == {"inbox", "receive", "take", "done", "latest"}
    assert PAGE.count("```sql") == len(SQL)


async def receive(url: str, event_id: str, *, has_stored: asyncio.Event, may_commit: asyncio.Event) -> str:
    """What a receiver does: one statement, then the answer. It is held up before the commit."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            told: str = await connection.execute(SQL["receive"], event_id, BODY)
            has_stored.set()
            await may_commit.wait()
        return told
    finally:
        await connection.close()


async def work(url: str, *, has_taken: asyncio.Event, may_end: asyncio.Event) -> int:
    """What a worker does until nothing waits that it could have; returns how many events it handled."""
    connection = await asyncpg.connect(url)
    handled = 0
    try:
        while True:
            async with connection.transaction():
                row = await connection.fetchrow(SQL["take"])
                has_taken.set()
                if row is None:
                    return handled
                await connection.execute("INSERT INTO effects (event_id, body) VALUES ($1, $2)", *row)
                await may_end.wait()
                await connection.execute(SQL["done"], row["event_id"])
            handled += 1
    finally:
        await connection.close()


async def test_two_copies_at_once_are_handled_once(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url)
    await connection.execute(SQL["inbox"])
    await connection.execute("CREATE TABLE effects (event_id text, body bytea)")

    stored, commit, stored_too = asyncio.Event(), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(receive(inbox_url, "evt_1", has_stored=stored, may_commit=commit))
    await stored.wait()
    copy = asyncio.create_task(receive(inbox_url, "evt_1", has_stored=stored_too, may_commit=commit))
    async with asyncio.timeout(60):
        while not await connection.fetchval(IS_WAITING):  # until the copy waits for the first one's commit
            pass
    assert not stored_too.is_set()
    commit.set()
    assert [await first, await copy] == ["INSERT 0 1", "INSERT 0 0"]  # both answer 2xx
    assert await connection.fetchval("SELECT count(*) FROM inbox") == 1

    taken, taken_too, end, never = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(work(inbox_url, has_taken=taken, may_end=end))
    await taken.wait()
    idle = await work(inbox_url, has_taken=taken_too, may_end=never)  # the row is locked, so it is passed over
    end.set()
    assert (idle, await worker) == (0, 1)
    assert await connection.fetch("SELECT event_id, body FROM effects") == [("evt_1", BODY)]
    assert await connection.execute(SQL["receive"], "evt_1", BODY) == "INSERT 0 0"  # a replay, later
    assert await work(inbox_url, has_taken=taken, may_end=end) == 0
    await connection.close()


async def test_a_worker_that_dies_gives_its_event_back(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url)
    await connection.execute(SQL["inbox"])
    await connection.execute(SQL["receive"], "evt_1", BODY)
    dying = await asyncpg.connect(inbox_url)
    await dying.execute("BEGIN")
    assert (await dying.fetchrow(SQL["take"]))["event_id"] == "evt_1"
    assert await connection.fetchrow(SQL["take"]) is None
    await dying.close()
    assert (await connection.fetchrow(SQL["take"]))["event_id"] == "evt_1"
    await connection.close()


async def test_an_event_that_comes_late_changes_nothing(inbox_url: str) -> None:
    connection = await asyncpg.connect(inbox_url)
    await connection.execute(
        "CREATE TABLE message_statuses (message_id text PRIMARY KEY, status text, changed_at timestamptz)"
    )
    later = AT + timedelta(seconds=1)
    for status, at in (("delivered", later), ("sent", AT), ("delivered", later)):
        await connection.execute(SQL["latest"], "msg_1", status, at)
    assert await connection.fetch("SELECT * FROM message_statuses") == [("msg_1", "delivered", later)]
    await connection.execute(SQL["latest"], "msg_1", "read", later + timedelta(seconds=1))
    assert await connection.fetchval("SELECT status FROM message_statuses") == "read"
    await connection.close()
