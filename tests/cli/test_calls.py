"""Every operation of /v1 has a command, which does the same over HTTP with a key and beside the database."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.adapters.postgres.engine import driver
from service.cli.calls.operations import OPERATIONS
from service.core.events.sample import sample_event
from tests.api.whole_rig import OWNER, STRANGER, Things, make_things
from tests.cli.command import Finished, Run, free_port
from tests.cli.reach import Api
from tests.end_to_end.known_ids import END_ALL, all_operations

OF = ("--organization", OWNER)
SECRET_KEYS = "k1:" + base64.b64encode(bytes(range(32))).decode()  # of the API in these tests
WITHOUT_A_COMMAND = {
    "get_public_keys",  # a document for receivers, without a key
    "stream",  # 'listen' and 'tail', which read on and on
}

NAMED_BY_THE_ID = {
    *(("deliveries", each) for each in ("show", "replay")),
    *(("replays", each) for each in ("show", "pause", "resume", "cancel")),
    *(("keys", each) for each in ("rotate", "revoke")),
}
"""Beside the database they find the organization by themselves."""


def commands(things: Things, directory: Path, url: str = "https://mine.example/other") -> dict[str, tuple[str, ...]]:
    """The command of each operation, in an order in which each can be done; a new operation fails until it has one."""
    now = datetime.now(UTC)
    event = json.loads(sample_event("message.sent", OWNER, event_id=f"evt_{directory.name}", number=7, now=now))
    documents = {
        "event": event,
        "endpoint": {"url": "https://put.example/hook", "event_types": ["message.sent"]},
        "schema": {"type": "object"},
    }
    for name, document in documents.items():
        (directory / name).write_text(json.dumps(document))
    endpoint = (things.endpoint_id,)
    return {
        "list_endpoints": ("endpoints", "list"),
        "list_endpoint_urls": ("endpoints", "urls"),
        "get_endpoint": ("endpoints", "show", *endpoint),
        "create_endpoint": ("endpoints", "add", "--url", "https://new.example/", "--event-types", "message.sent"),
        "check_endpoint": ("endpoints", "check", str(directory / "endpoint")),
        "put_endpoint": ("endpoints", "put", str(directory / "endpoint")),
        "update_endpoint": ("endpoints", "update", *endpoint, "--url", url),
        "pause_endpoint": ("endpoints", "pause", *endpoint),
        "resume_endpoint": ("endpoints", "resume", *endpoint),
        "rotate_endpoint_secret": ("endpoints", "rotate", *endpoint),
        "end_secret_overlap": ("endpoints", "end-overlap", *endpoint, "--yes"),
        "get_endpoint_stats": ("endpoints", "stats", *endpoint),
        "get_stats": ("stats", "show"),
        "list_endpoint_stats": ("stats", "endpoints", *endpoint),
        "test_endpoint": ("endpoints", "test", *endpoint),
        "rehearse_endpoint": ("endpoints", "rehearse", *endpoint),
        "recover_endpoint": ("endpoints", "recover", *endpoint, "--since", "1h", "--dry-run"),
        "list_event_types": ("event-types", "list"),
        "list_event_type_names": ("event-types", "names"),
        "register_event_type": ("event-types", "add", "order.paid", "--schema", str(directory / "schema")),
        "get_event_type": ("event-types", "show", "order.paid"),
        "publish_events": ("events", "publish", str(directory / "event")),
        "list_events": ("events", "list"),
        "get_event": ("events", "show", things.event_id),
        "get_event_body": ("events", "body", things.event_id),
        "explain_event": ("events", "explain", things.event_id),
        "get_message": ("messages", "show", things.message_id),
        "list_deliveries": ("deliveries", "list"),
        "get_delivery": ("deliveries", "show", things.delivery_id),
        "replay_delivery": ("deliveries", "replay", things.delivery_id),
        "list_replays": ("replays", "list"),
        "create_replay": ("replays", "create", "--endpoint", *endpoint, "--no-wait"),
        "get_replay": ("replays", "show", things.replay_id),
        "pause_replay": ("replays", "pause", things.replay_id),
        "resume_replay": ("replays", "resume", things.replay_id),
        "cancel_replay": ("replays", "cancel", things.replay_id),
        "list_audit": ("audit", "list"),
        "list_keys": ("keys", "list"),
        "create_key": ("keys", "create", "--scopes", "read"),
        "get_key": ("keys", "show", things.key_id),
        "rotate_key": ("keys", "rotate", things.key_id),
        "revoke_key": ("keys", "revoke", things.key_id),
        "get_me": ("keys", "whoami"),
        "create_portal_link": ("portal-links", "create"),
        "delete_endpoint": ("endpoints", "remove", *endpoint),
    }


@pytest.fixture
async def things(api: Api) -> Things:
    made = await make_things(api.whole)
    async with driver(api.whole.engine) as connection:
        await connection.execute(END_ALL)
    return made


def test_every_operation_has_a_command(tmp_path: Path) -> None:
    operations = {each.name: (each.method, each.path) for each in all_operations()}
    assert {name: operations[name] for name in OPERATIONS} == OPERATIONS
    nobody = Things(*["x"] * 8)
    assert operations.keys() - WITHOUT_A_COMMAND == commands(nobody, tmp_path).keys() | {"revoke_leaked_key"}


def over_http(api: Api) -> dict[str, str]:
    return {"POSTHORN_API_URL": api.url, "POSTHORN_API_KEY": api.key, "DATABASE_URL": ""}


async def done(posthorn: Run, command: tuple[str, ...], **changes: str) -> Finished:
    finished = await posthorn(*command, **changes)
    assert finished.code == 0, (command, finished.err)
    return finished


@pytest.mark.timeout(900)  # it is forty processes
async def test_each_command_over_http(posthorn: Run, api: Api, things: Things, tmp_path: Path) -> None:
    every = commands(things, tmp_path)
    told = {name: await posthorn(*command, *as_json(name), **over_http(api)) for name, command in every.items()}
    assert failed(told) == {}


@pytest.mark.timeout(900)  # the same
async def test_each_command_beside_the_database(posthorn: Run, things: Things, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"  # which nobody listens to, and no DNS is asked for
    every = commands(things, tmp_path, url)
    del every["get_me"]  # beside the database there is no key to ask for
    told = {
        name: await posthorn(
            *command, *(() if command[:2] in NAMED_BY_THE_ID else OF), *as_json(name), SECRET_KEYS=SECRET_KEYS
        )
        for name, command in every.items()
    }
    assert failed(told) == {}


def as_json(name: str) -> tuple[str, ...]:
    return ("--json",) if name != "get_event_body" else ()  # which is JSON


def failed(told: Mapping[str, Finished]) -> dict[str, str]:
    """Those that did not end well, or whose output is not one JSON object."""
    return {name: each.err for name, each in told.items() if each.code != 0 or not isinstance(each.json, dict)}


async def test_people_get_tables_and_fields_the_same_both_ways(posthorn: Run, api: Api, things: Things) -> None:
    for command in (("events", "list"), ("event-types", "list"), ("events", "show", things.event_id)):
        remote = await done(posthorn, command, **over_http(api))
        beside = await done(posthorn, (*command, *OF))
        assert remote.out == beside.out != ""
    assert things.event_id in (await done(posthorn, ("events", "list"), **over_http(api))).out


async def test_refusals_are_one_sentence_the_same_both_ways(posthorn: Run, api: Api) -> None:
    command = ("endpoints", "pause", "ep_nobody")
    remote = await posthorn(*command, **over_http(api))
    beside = await posthorn(*command, *OF)
    assert (remote.code, beside.code) == (1, 1)
    sentence = beside.err.splitlines()[0]
    assert "ep_nobody" in sentence
    assert remote.err.startswith(sentence.rstrip("."))
    wrong = await posthorn("portal-links", "create", *OF, "--scopes", "nonsense")
    assert (wrong.code, "  scopes" in wrong.err) == (2, True)


async def test_a_key_is_not_used_for_another_organization_than_the_one_named(
    posthorn: Run, api: Api, things: Things
) -> None:
    refused = await posthorn("endpoints", "pause", things.endpoint_id, "--organization", STRANGER, **over_http(api))
    assert (refused.code, f"this key belongs to {OWNER}, not to {STRANGER}." in refused.err) == (2, True)
    shown = await done(posthorn, ("endpoints", "show", things.endpoint_id, "--json"), **over_http(api))
    assert shown.json["state"] == "active"


async def test_who_names_no_organization_beside_the_database_is_told(posthorn: Run) -> None:
    for command in (("events", "list"), ("endpoints", "list"), ("keys", "list")):
        refused = await posthorn(*command)
        assert (refused.code, refused.err.startswith("--organization is required without an API key.")) == (2, True), (
            command
        )


async def test_who_names_neither_an_api_nor_a_database_is_told_of_both(posthorn: Run) -> None:
    refused = await posthorn("events", "list", DATABASE_URL="", SECRET_KEYS="")
    assert refused.code == 2
    assert refused.err.startswith("Neither an API nor a database is named.\nWith an API key: set POSTHORN_API_URL")
    assert "As the operator: set DATABASE_URL and SECRET_KEYS, and give --organization." in refused.err


async def test_a_secret_is_not_ended_at_once_without_being_asked(posthorn: Run, api: Api, things: Things) -> None:
    rotate = ("endpoints", "rotate", things.endpoint_id, "--overlap-seconds", "0", "--json")
    refused = await posthorn(*rotate, **over_http(api))
    assert (refused.code, "Add --yes" in refused.err) == (2, True)
    assert (await done(posthorn, (*rotate, "--yes"), **over_http(api))).json["secret"].startswith("whsec_")


async def test_who_found_a_key_ends_it(posthorn: Run, api: Api) -> None:
    await done(posthorn, ("keys", "revoke", api.whole.keys[STRANGER].text), **over_http(api))
    whoami = over_http(api) | {"POSTHORN_API_KEY": api.whole.keys[STRANGER].text}
    refused = await posthorn("keys", "whoami", **whoami)
    assert (refused.code, "401" in refused.err) == (1, True)
