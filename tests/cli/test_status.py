"""status: one screen, and the same as JSON."""

import asyncpg
import pytest

from tests.cli.command import Run, serving

pytestmark = pytest.mark.clock


async def test_a_service_without_workers_is_said_to_be_so(posthorn: Run) -> None:
    seen = await posthorn("status")
    assert seen.code == 0, seen.err
    assert seen.out.startswith("! No worker is connected")
    assert "not checked: AMQP_URL is not set here" in seen.out


async def test_who_serves_is_seen_until_it_ends(posthorn: Run, environment: dict[str, str], amqp_url: str) -> None:
    environ = environment | {"AMQP_URL": amqp_url}
    async with serving(environ) as service:
        await service.told("service.started")
        seen = await posthorn("status", "--json", AMQP_URL=amqp_url)
        assert [each["role"] for each in seen.json["processes"]] == ["all"]
        assert str(service.process.pid) in seen.json["processes"][0]["name"]
        assert seen.json["broker"]["trouble"] is None
        assert "Nothing needs attention." in (await posthorn("status", AMQP_URL=amqp_url)).out
        unchecked = await posthorn("status")
        assert unchecked.out.startswith("Nothing wrong found; the broker was not checked.\n")
    gone = await posthorn("status", "--json", AMQP_URL=amqp_url)
    assert gone.json["processes"] == []
    assert gone.json["concerns"][0]["about"] == "workers"


async def test_a_gate_says_no_more_to_the_terminal_than_text(posthorn: Run, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_a')")
    await connection.execute(
        "INSERT INTO endpoints (id, organization_id, url) VALUES ('ep_1', 'org_a', 'https://e.example/')"
    )
    await connection.execute(
        "INSERT INTO gates (endpoint_id, kind, until, detail) VALUES ('ep_1', 'disabled', 'infinity', E'x\\x1b[2J')"
    )
    await connection.close()
    seen = await posthorn("status")
    assert "disabled ep_1 of org_a" in seen.out
    assert "\x1b" not in seen.out


async def test_organizations_are_listed_with_their_endpoints_counted(posthorn: Run, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """INSERT INTO organizations (id) VALUES ('org_a'), ('org_b');
           INSERT INTO endpoints (id, organization_id, url) VALUES ('ep_1', 'org_b', 'https://e.example/');
           INSERT INTO breakers (endpoint_id, failing_since, attempts_failed) VALUES ('ep_1', now(), 3)"""
    )
    await connection.close()
    first = await posthorn("organizations", "list", "--limit", "1", "--json")
    assert ([each["id"] for each in first.json["data"]], first.json["next_after"]) == (["org_a"], "org_a")
    second = await posthorn("organizations", "list", "--after", "org_a", "--json")
    [row] = second.json["data"]
    assert (row["id"], row["endpoint_count"], row["failing_count"], row["disabled_count"]) == ("org_b", 1, 1, 0)
    assert second.json["next_after"] is None
    assert (await posthorn("organizations", "list", "--search", "G_B")).out == "org_b\n"
    assert "No organization matches" in (await posthorn("organizations", "list", "--search", "zzz")).err
