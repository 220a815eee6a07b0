"""doctor: what is well, and what to do about what is not."""

import base64
from typing import Any

import asyncpg

from tests.cli.command import Finished, Run


def check(told: Finished, name: str) -> dict[str, Any]:
    [found] = [each for each in told.json["checks"] if each["name"] == name]
    return dict(found)


async def test_all_is_well(posthorn: Run, amqp_url: str) -> None:
    told = await posthorn("doctor", "--json", AMQP_URL=amqp_url)
    assert (told.code, told.json["ok"], told.err) == (0, True, "")
    names = [
        "settings",
        "database",
        "migrations",
        "clock",
        "days",
        "retention",
        "keys",
        "certificates",
        "secrets",
        "egress",
        "broker",
    ]
    assert [each["name"] for each in told.json["checks"]] == names
    assert "PostgreSQL" in check(told, "database")["detail"]


async def test_what_is_away_is_told_with_what_to_check(posthorn: Run) -> None:
    told = await posthorn(
        "doctor", "--json", DATABASE_URL="postgresql://u:pw@127.0.0.1:1/d", AMQP_URL="amqp://127.0.0.1:1/"
    )
    assert (told.code, told.json["ok"]) == (1, False)
    assert "DATABASE_URL" in check(told, "database")["advice"]
    assert "AMQP_URL" in check(told, "broker")["advice"]
    assert check(told, "broker")["detail"].startswith("connection to 127.0.0.1:1 refused; ")
    assert check(told, "database")["detail"].startswith("connection refused; ")
    assert "FAIL" in (await posthorn("doctor", DATABASE_URL="postgresql://u:pw@127.0.0.1:1/d")).out


async def test_wrong_and_missing_settings_are_told(posthorn: Run) -> None:
    wrong = await posthorn("doctor", "--json", POSTHORN_OPS_PORT="abc")
    assert wrong.code == 1
    assert "POSTHORN_OPS_PORT" in check(wrong, "settings")["advice"]
    missing = await posthorn("doctor", "--json", DATABASE_URL="", SECRET_KEYS="")
    assert missing.code == 1
    advice = check(missing, "settings")["advice"]
    assert "export DATABASE_URL" in advice
    assert "openssl rand" in advice


async def test_a_schema_that_is_not_there_points_to_migrate(posthorn: Run, postgres_server_url: str) -> None:
    told = await posthorn("doctor", "--json", DATABASE_URL=postgres_server_url)
    assert told.code == 1
    assert "posthorn migrate" in check(told, "migrations")["advice"]


async def test_client_certificates_that_expire_soon_show(posthorn: Run, database_url: str) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    made = await posthorn(
        *("endpoints", "add", "--organization", "org_a", "--url", "https://example.org/", "--json"),
        *("--event-types", "message.sent"),
    )
    assert check(await posthorn("doctor", "--json"), "certificates")["ok"]
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE endpoints SET auth_expires_at = now() + interval '29 days'")
    await connection.close()
    found = check(await posthorn("doctor", "--json"), "certificates")
    assert not found["ok"]
    assert f"1 client certificate within 30 days of expiry; {made.json['id']} of org_a: at " in found["detail"]


async def test_keys_that_expire_soon_show(posthorn: Run) -> None:
    await posthorn("keys", "create", "--organization", "org_a", "--expires-in-days", "15")
    assert check(await posthorn("doctor", "--json"), "keys")["ok"]
    made = await posthorn("keys", "create", "--organization", "org_a", "--expires-in-days", "3", "--json")
    told = await posthorn("doctor", "--json")
    found = check(told, "keys")
    assert (told.code, found["ok"]) == (1, False)
    assert f"{made.json['key_id']} of org_a" in found["detail"]
    assert "posthorn keys rotate" in found["advice"]


async def test_secrets_that_do_not_open_and_urls_that_are_refused_show(posthorn: Run, database_url: str) -> None:
    await posthorn("keys", "create", "--organization", "org_a")
    types = ("--event-types", "message.sent")
    url = ("--url", "http://127.0.0.1:8080/hook/token")
    added = await posthorn("endpoints", "add", "--organization", "org_a", *url, *types, "--json")
    assert (await posthorn("doctor")).code == 0
    same_id = "k1:" + base64.b64encode(b"x" * 32).decode()
    other_id = "k2:" + base64.b64encode(b"x" * 32).decode()
    for keys in (same_id, other_id):
        told = await posthorn("doctor", "--json", SECRET_KEYS=keys)
        assert told.code == 1
        assert "1 signing secret sealed with key 'k1'" in check(told, "secrets")["detail"]
        assert ("the key 'k1' in SECRET_KEYS is not the one" in check(told, "secrets")["detail"]) is (keys == same_id)
        assert "altered" not in told.out
    connection = await asyncpg.connect(database_url)  # what another key sealed may be headers alone
    await connection.execute("UPDATE endpoints SET sealed_headers = 'v1:k9:AAAA'")
    await connection.close()
    assert "1 endpoint's headers sealed with key 'k9'" in check(await posthorn("doctor", "--json"), "secrets")["detail"]
    told = await posthorn("doctor", "--json", POSTHORN_EGRESS_ALLOW="")
    assert told.code == 1
    assert added.json["id"] in check(told, "egress")["detail"]
    assert "token" not in told.out


async def test_a_day_that_is_missing_ahead_shows_with_what_makes_it(posthorn: Run, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    day = await connection.fetchval("SELECT to_char((now() AT TIME ZONE 'UTC')::date + 2, 'YYYYMMDD')")
    await connection.execute(f"DROP TABLE attempts_{day}")
    told = await posthorn("doctor", "--json")
    assert (told.code, check(told, "days")["detail"]) == (1, "only 1 day ahead have partitions")
    assert (await posthorn("migrate")).code == 0
    assert check(await posthorn("doctor", "--json"), "days")["ok"]
    await connection.close()


async def test_an_endpoint_whose_deliveries_near_the_end_of_retention_is_named(
    posthorn: Run, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """INSERT INTO open_deliveries (event_uid, subscription_id, organization_id, endpoint_id, event_id, event_type,
                                        state, claims_made)
           SELECT (lpad(to_hex(floor(extract(epoch FROM now() - interval '25 days') * 1000)::bigint), 12, '0')
                   || '70008000000000000000')::uuid, 1, 'org_a', 'ep_paused', 'evt_1', 'message.sent', 'pending', 0"""
    )
    told = await posthorn("doctor", "--json")
    assert told.code == 1
    detail = check(told, "retention")["detail"]
    assert (
        detail == "ep_paused of org_a (no gate shut): 1 delivery, up to 25.0 days old; of 30 days that events are kept"
    )
    assert "POSTHORN_RETENTION_DAYS" in check(told, "retention")["advice"]
    await connection.close()


async def test_a_passive_broker_needs_its_queues(posthorn: Run, amqp_url: str, database_url: str) -> None:
    told = await posthorn("doctor", "--json", AMQP_URL=amqp_url, AMQP_DECLARE="passive", POSTHORN_AMQP_PREFIX="nobodys")
    assert told.code == 1
    assert "does not exist" in check(told, "broker")["detail"]
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM organizations") == 0  # it looks, and changes nothing
    await connection.close()
