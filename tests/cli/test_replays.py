"""replays: counted, made, followed, directed; and an endpoint that recovers."""

import re
from typing import Any

import asyncpg
import pytest

from tests.cli.command import Run, serving
from tests.cli.test_deliveries import receiver

ORGANIZATION = ("--organization", "org_a")
KEYS = {
    "id",
    "state",
    "reason",
    "endpoint_id",
    "event_type",
    "ids_count",
    "since",
    "until",
    "states",
    "rate",
    "total_count",
    "is_counted",
    "created_count",
    "skipped",
    "open_count",
    "created_by",
    "created_at",
    "started_at",
    "ended_at",
}


async def _endpoint(posthorn: Run, url: str = "https://hooks.example.com/a") -> str:
    await posthorn("keys", "create", *ORGANIZATION)
    add = ("endpoints", "add", *ORGANIZATION, "--event-types", "message.sent", "--url", url)
    found: str = (await posthorn(*add, "--json")).json["id"]
    return found


async def test_what_was_delivered_is_replayed_and_followed_to_its_end(
    environment: dict[str, str], posthorn: Run
) -> None:
    async with receiver(200) as (url, arrived), serving(environment) as service:
        await service.told("service.started")
        endpoint_id = await _endpoint(posthorn, url)
        scopes = ("--scopes", "publish", "--json")
        key = (await posthorn("keys", "create", *ORGANIZATION, *scopes)).json["key"]
        await posthorn("trigger", "message.sent", *ORGANIZATION, "--count", "3", "--via", "http", "--key", key)
        first = [await arrived.get() for _ in range(3)]
        delivered = await _deliveries(posthorn)
        asked = (*ORGANIZATION, "--endpoint", endpoint_id, "--states", "delivered", "--since", "1h")
        counted = await posthorn("replays", "create", *asked, "--dry-run")
        assert counted.code == 0, counted.err
        assert re.search(r"replayable_count +3", counted.out)
        assert (await posthorn("replays", "create", *asked, "--dry-run", "--json")).json["replayable_count"] == 3
        assert (await posthorn("replays", "list", *ORGANIZATION, "--json")).json["data"] == []

        followed = await posthorn("replays", "create", *asked)
        assert followed.code == 0, followed.err
        assert re.search(r"state +done", followed.out), followed.out
        again = [await arrived.get() for _ in range(3)]
        assert [body for body, _ in again] == [body for body, _ in sorted(first, key=lambda each: _place(again, each))]
        assert all(headers["webhook-replay"].startswith("dlv_") for _, headers in again)

        ids = ",".join(each["id"] for each in delivered[:2])
        named = await posthorn("replays", "create", *ORGANIZATION, "--ids", ids, "--no-wait", "--json")
        assert named.json.keys() == KEYS
        assert (named.json["ids_count"], named.json["created_by"]) == (2, "cli")


async def _deliveries(posthorn: Run) -> list[dict[str, Any]]:
    """Those that were delivered, once all three were."""
    found: list[dict[str, Any]] = []
    while len(found) < 3:
        found = (await posthorn("deliveries", "list", *ORGANIZATION, "--state", "delivered", "--json")).json["data"]
    return found


def _place(again: list[tuple[bytes, Any]], each: tuple[bytes, Any]) -> int:
    return [body for body, _ in again].index(each[0])


async def test_a_job_is_listed_shown_paused_resumed_and_cancelled(posthorn: Run) -> None:
    endpoint_id = await _endpoint(posthorn)
    made = await posthorn(
        "endpoints", "recover", endpoint_id, *ORGANIZATION, "--since", "2026-01-01T00:00:00Z", "--json"
    )
    assert made.code == 0, made.err
    assert (made.json["states"], made.json["endpoint_id"]) == (["dead", "cancelled"], endpoint_id)
    job_id = made.json["id"]
    for command, state in (("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled")):
        told = await posthorn("replays", command, job_id, "--json")
        assert (told.code, told.json["state"]) == (0, state)
    refused = await posthorn("replays", "resume", job_id)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("The replay is cancelled; it cannot resume any more.")
    assert (await posthorn("replays", "show", job_id, "--json")).json["state"] == "cancelled"
    listed = await posthorn("replays", "list", *ORGANIZATION)
    assert job_id in listed.out
    assert endpoint_id in listed.out
    assert (await posthorn("replays", "list", *ORGANIZATION, "--state", "paused", "--json")).json["data"] == []


async def test_an_endpoint_is_resumed_and_gets_what_it_missed_by_one_command(posthorn: Run, database_url: str) -> None:
    endpoint_id = await _endpoint(posthorn)
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO gates VALUES ($1, 'disabled', 'infinity')", endpoint_id)
    await connection.close()
    recover = ("endpoints", "recover", endpoint_id, *ORGANIZATION, "--since", "1h", "--resume")
    refused = await posthorn(*recover, "--dry-run")
    assert (refused.code, "resume: must be left out with dry_run" in refused.err) == (2, True)
    made = await posthorn(*recover, "--json")
    assert (made.code, made.json["endpoint_id"]) == (0, endpoint_id), made.err
    shown = await posthorn("endpoints", "show", endpoint_id, *ORGANIZATION, "--json")
    assert shown.json["state"] == "active"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", *ORGANIZATION), 2, "Give --endpoint, --event-type, both, or --ids."),
        (("create", *ORGANIZATION, "--ids", "x"), 2, "ids[0]: is not a delivery's id"),
        (("create", *ORGANIZATION, "--ids", "x", "--since", "1h"), 2, "since: must be left out when ids are given"),
        (("create", *ORGANIZATION, "--event-type", "message.sent", "--since", "x"), 2, "--since: 'x' is not a time"),
        (
            ("create", *ORGANIZATION, "--event-type", "message.sent", "--until", "2026-01-01"),
            2,
            "--until: '2026-01-01'",
        ),
        (
            ("create", *ORGANIZATION, "--event-type", "message.sent", "--states", "pending"),
            2,
            "unknown state 'pending'",
        ),
        (("create", *ORGANIZATION, "--endpoint", "ep_x"), 1, "No endpoint 'ep_x'"),
        (("create", "--organization", "org_b", "--event-type", "message.sent"), 1, "There is no organization 'org_b'"),
        (("show", "rpl_x"), 1, "There is no replay 'rpl_x'"),
        (("pause", "rpl_x"), 1, "There is no replay 'rpl_x'"),
    ],
)
async def test_what_cannot_be_done_is_said(posthorn: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    await posthorn("keys", "create", *ORGANIZATION)
    told = await posthorn("replays", *arguments)
    assert (told.code, told.out) == (code, ""), told.err
    assert said in told.err
