"""secrets rewrap: from one key to the next, while the service runs, and however often it is killed."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.cli.command import Run
from tests.end_to_end.waiting import until

OLD = "k1:" + base64.b64encode(bytes(range(32))).decode()
NEW = "k2:" + base64.b64encode(b"n" * 32).decode()
BOTH = f"{NEW},{OLD}"
ENDPOINTS = 3


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def add_endpoints(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    for number in range(ENDPOINTS):
        url = ("--url", f"https://example.org/{number}")
        await posthorn("endpoints", "add", "--organization", "org_a", *url, "--event-types", "message.sent")


async def keys_used(database: asyncpg.Connection) -> dict[str, int]:
    rows = await database.fetch("SELECT split_part(sealed, ':', 2), count(*) FROM endpoint_secrets GROUP BY 1")
    return {row[0]: row[1] for row in rows}


async def secrets_check(posthorn: Run, keys: str) -> dict[str, object]:
    told = await posthorn("doctor", "--json", SECRET_KEYS=keys)
    [found] = [each for each in told.json["checks"] if each["name"] == "secrets"]
    return dict(found)


async def test_a_key_is_replaced_and_the_doctor_says_when_the_old_one_can_go(
    posthorn: Run, database: asyncpg.Connection
) -> None:
    await add_endpoints(posthorn)
    needed = await secrets_check(posthorn, BOTH)
    assert (needed["ok"], needed["detail"]) == (True, "key 'k1' sealed 3 signing secrets")
    assert needed["advice"] == "Keep 'k1' in SECRET_KEYS; 'posthorn secrets rewrap' seals all of it with 'k2'."
    told = await posthorn("secrets", "rewrap", SECRET_KEYS=BOTH)
    assert (told.code, told.out) == (0, "")
    assert "Sealed 3 values with 'k2'." in told.err
    assert await keys_used(database) == {"k2": ENDPOINTS}
    done = await secrets_check(posthorn, BOTH)
    assert (done["ok"], done["detail"]) == (True, "key 'k2' sealed 3 signing secrets")
    assert "Nothing stored needs 'k1': remove it" in str(done["advice"])
    alone = await secrets_check(posthorn, NEW)
    assert (alone["ok"], alone["advice"]) == (True, "")
    again = await posthorn("secrets", "rewrap", "--json", SECRET_KEYS=BOTH)
    assert (again.code, again.err) == (0, "")
    rows = 4 * ENDPOINTS + 1  # of each endpoint three columns and a secret, and the organization
    assert again.json == {"key_id": "k2", "rows_read": rows, "rewrapped_count": 0, "clear_count": 0, "left": {}}


async def test_a_command_beside_the_database_seals_nothing_with_a_key_that_the_service_lacks(
    posthorn: Run, database: asyncpg.Connection
) -> None:
    await add_endpoints(posthorn)
    of = ("--organization", "org_a")
    endpoint_id = (await posthorn("endpoints", "list", *of, "--json")).json["data"][0]["id"]
    another = ("--url", "https://example.org/new", "--event-types", "message.sent")
    for command in (("endpoints", "rotate", endpoint_id), ("endpoints", "add", *another)):
        unset = await posthorn(*command, *of, SECRET_KEYS="")
        assert (unset.code, "Set the value that the running service uses." in unset.err) == (2, True), unset.err
        refused = await posthorn(*command, *of, SECRET_KEYS=NEW)
        assert (refused.code, "SECRET_KEYS opens nothing that is stored" in refused.err) == (2, True), refused.err
    assert await keys_used(database) == {"k1": ENDPOINTS}


async def test_urls_of_an_earlier_release_are_sealed_when_the_operator_says_so(
    posthorn: Run, database: asyncpg.Connection
) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    await database.execute("UPDATE organizations SET seals_urls = false")
    url = ("--url", "https://example.org/?token=hush", "--event-types", "message.sent")
    added = await posthorn("endpoints", "add", "--organization", "org_a", *url, "--json")
    listed = await posthorn("endpoints", "list", "--organization", "org_a")
    assert added.json["url"] == "https://example.org/?token=hush"
    assert ("https://example.org/?***" in listed.out, "hush" in listed.out) == (True, False)
    assert (await secrets_check(posthorn, OLD))["advice"] == (
        "1 endpoint and 0 ended subscriptions with a query in clear in the URL, and 1 organization where new ones are stored so.\n"
        "When every process is of this release, 'posthorn secrets rewrap' seals them."
    )
    told = await posthorn("secrets", "rewrap", "--json")
    assert (told.code, told.json["rewrapped_count"], told.json["clear_count"]) == (0, 1, 0)
    assert "hush" not in str(await database.fetch("SELECT e::text, s::text FROM endpoints e, subscriptions s"))
    assert (await secrets_check(posthorn, OLD))["advice"] == ""
    twin = "INSERT INTO endpoints (id, organization_id, url) VALUES ('ep_twin', 'org_a', $1)"
    await database.execute(twin, url[1])
    told = await posthorn("secrets", "rewrap")
    assert (told.code, f"ep_twin has the URL of {added.json['id']}\n" in told.err) == (1, True)


async def test_what_no_key_opens_stays_and_is_told(posthorn: Run, database: asyncpg.Connection) -> None:
    await add_endpoints(posthorn)
    told = await posthorn("secrets", "rewrap", "--json", SECRET_KEYS=NEW)
    assert (told.code, told.json["left"], told.json["rewrapped_count"]) == (1, {"k1": "3 signing secrets"}, 0)
    assert (
        "Still sealed with 'k1': 3 signing secrets; put 'k1' back, last in SECRET_KEYS, and run this again." in told.err
    )
    assert await keys_used(database) == {"k1": ENDPOINTS}
    same_id = NEW.replace("k2", "k1")
    wrong = await posthorn("secrets", "rewrap", SECRET_KEYS=f"{NEW.replace('k2', 'k3')},{same_id}")
    assert (wrong.code, "'posthorn doctor' says if they cannot be opened" in wrong.err) == (1, True)
    keyless = await posthorn("secrets", "rewrap", SECRET_KEYS="")
    assert (keyless.code, "openssl rand" in keyless.err) == (2, True)


async def test_what_was_killed_is_ended_by_the_next_run(
    posthorn: Run, environment: dict[str, str], database: asyncpg.Connection, database_url: str
) -> None:
    """It is held up at its last secret, by a transaction that has it locked, and killed there."""
    await add_endpoints(posthorn)
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM endpoint_secrets ORDER BY id DESC LIMIT 1 FOR UPDATE")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "secrets", "rewrap"),
            env=environment | {"SECRET_KEYS": BOTH},
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def is_held_up() -> bool:
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(await database.fetchval(waits))

        await until(is_held_up, "rewrap waits for the row")
        process.kill()
        await process.wait()
        assert await keys_used(database) == {"k1": 1, "k2": ENDPOINTS - 1}
        assert "2 signing secrets" in str((await secrets_check(posthorn, BOTH))["detail"])
    await other.close()
    told = await posthorn("secrets", "rewrap", "--json", SECRET_KEYS=BOTH)
    assert (told.code, told.json["left"]) == (0, {})
    assert await keys_used(database) == {"k2": ENDPOINTS}
    assert (await secrets_check(posthorn, NEW))["ok"]
