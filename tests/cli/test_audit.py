"""audit list, and that every command that changes something is listed there."""

import base64
import json
import os
import pwd
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.adapters.postgres.engine import connect, driver
from service.adapters.secret_box import AesSecretBox, parse_secret_keys
from tests.adapters.rapidpro_server import subscriber
from tests.cli.command import Run, free_port
from tests.cli.conftest import SECRET_KEYS
from tests.cli.test_help import application_paths
from tests.core.test_imports import CONVOY, SVIX
from tests.end_to_end.known_ids import END_ALL, ORGANIZATION, KnownIds, make_known_things

US = f"{pwd.getpwuid(os.geteuid()).pw_name}@{socket.gethostname()}"
OF = ("--organization", ORGANIZATION)
NEW_KEY = "k2:" + base64.b64encode(b"n" * 32).decode()

LEAVE_NO_ENTRY = {
    *("demo", "serve", "sign", "verify", "doctor", "status", "config show", "organizations list", "audit list"),
    *("keys list", "endpoints list", "endpoints show", "deliveries list", "deliveries show"),
    *("replays list", "replays show", "parked list", "parked show"),
    *(
        "endpoints stats",
        "endpoints check",
        "events list",
        "events show",
        "events explain",
        "events body",
        "messages show",
        "keys show",
        "keys whoami",
    ),
    *("endpoints urls", "event-types list", "event-types names", "event-types show", "stats show", "stats endpoints"),
    *("endpoints test", "events publish"),  # these are traffic, too
    *("profiles add", "profiles list", "profiles use", "profiles remove"),  # in the user's own files
    "migrate",  # alembic_version has its revisions
    "trigger",  # events are the traffic itself
    *("rehearse", "listen", "tail"),  # they need no database
}
EXPORTS = {
    "rapidpro": {"resthook_subscribers": [subscriber(11, "new-mother", "https://hooks.example/rapidpro")]},
    "svix": {"data": [SVIX]},
    "convoy": {"data": {"content": [CONVOY]}},
}


@pytest.fixture
async def known(database_url: str) -> AsyncIterator[KnownIds]:
    engine = connect(database_url)
    known = await make_known_things(engine, AesSecretBox(parse_secret_keys(SECRET_KEYS)))
    async with driver(engine) as connection:
        await connection.execute(END_ALL)
        await connection.execute("UPDATE endpoints SET is_paused = true")
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until) SELECT id, 'paused', 'infinity' FROM endpoints"
        )
    yield known
    await engine.dispose()


def importing(directory: Path) -> dict[str, tuple[str, ...]]:
    """The arguments of the commands that import, each with an export of its own in this directory."""
    for name, export in EXPORTS.items():
        (directory / name).write_text(json.dumps(export))
    return {f"import {name}": (*OF, "--file", str(directory / name), "--apply") for name in EXPORTS}


def from_files(directory: Path) -> dict[str, tuple[str, ...]]:
    """The arguments of the commands that change what a file says."""
    (directory / "endpoint").write_text('{"url": "https://put.example/", "event_types": ["message.sent"]}')
    (directory / "schema").write_text('{"type": "object"}')
    return {
        "endpoints put": (str(directory / "endpoint"), *OF),
        "event-types add": ("order.paid", "--schema", str(directory / "schema"), *OF),
    }


def changing(known: KnownIds) -> dict[str, tuple[str, ...]]:
    """The arguments of each other command that changes something, in an order in which each does."""
    url = ("--url", "https://two.example/?token=hush", "--event-types", "message.sent")
    return {
        "dashboard": (),
        "secrets rewrap": (),  # before what it would rewrap is replaced
        "keys create": ("--organization", "org_new"),
        "keys rotate": (known.key_id,),
        "keys revoke": (known.key_id,),
        "endpoints add": (*OF, *url),
        "endpoints resume": (known.endpoint_id, *OF),
        "endpoints pause": (known.endpoint_id, *OF),
        "endpoints update": (known.endpoint_id, *OF, "--url", f"http://127.0.0.1:{free_port()}/"),
        "endpoints rehearse": (known.endpoint_id, *OF),
        "endpoints rotate": (known.endpoint_id, *OF),
        "endpoints end-overlap": (known.endpoint_id, *OF, "--yes"),
        "portal-links create": OF,
        "endpoints recover": (known.endpoint_id, *OF, "--since", "1h", "--no-wait"),
        "deliveries replay": (known.delivery_id,),
        "replays create": (*OF, "--endpoint", known.endpoint_id, "--no-wait"),
        "replays pause": (known.replay_id,),
        "replays resume": (known.replay_id,),
        "replays cancel": (known.replay_id,),
        "endpoints remove": (known.endpoint_id, *OF),
        "parked republish": ("--all", "--yes"),
        "parked discard": ("--all", "--yes"),
    }


def commands() -> set[str]:
    """Every command, without the groups."""
    every = application_paths()
    groups = {each[:-1] for each in every if each}
    return {" ".join(each) for each in every if each not in groups}


async def entries(posthorn: Run, *options: str) -> list[dict[str, Any]]:
    listed = await posthorn("audit", "list", "--json", *options)
    assert listed.code == 0, listed.err
    found: list[dict[str, Any]] = listed.json["data"]
    return found


async def test_every_command_that_changes_something_leaves_an_entry(
    posthorn: Run, known: KnownIds, amqp_url: str, tmp_path: Path
) -> None:
    """A new command fails here until it is in one of them."""
    every = from_files(tmp_path) | changing(known) | importing(tmp_path)
    assert commands() == every.keys() | LEAVE_NO_ENTRY
    assert await entries(posthorn, "--actor", US) == []
    seen = 0
    for command, arguments in every.items():
        done = await posthorn(*command.split(), *arguments, AMQP_URL=amqp_url, SECRET_KEYS=f"{NEW_KEY},{SECRET_KEYS}")
        assert done.code == 0, (command, done.err)
        by_us = await entries(posthorn, "--actor", US, "--limit", "200")
        assert len(by_us) > seen, command
        seen = len(by_us)
        assert {(each["actor_kind"], each["address"]) for each in by_us} == {("cli", None)}


async def test_changes_are_listed_filtered_and_paged(posthorn: Run, known: KnownIds) -> None:
    added = await posthorn(*("endpoints", "add", *OF, *changing(known)["endpoints add"][2:], "--json"))
    (entry,) = await entries(posthorn, "--object", added.json["id"])
    assert (entry["operation"], entry["actor_id"], entry["before"]) == ("endpoint.create", US, None)
    assert entry["after"]["url"] == "https://two.example/?***"
    assert entry["after"]["secrets"][0]["hint"] == added.json["secret"][-4:]
    shown = await posthorn("audit", "list", *OF, "--operation", "endpoint.create", "--since", "1h")
    assert (shown.code, US in shown.out, added.json["id"] in shown.out) == (0, True, True)
    every = await entries(posthorn)
    first = await posthorn("audit", "list", "--limit", "2", "--json")
    rest = await entries(posthorn, "--cursor", first.json["next_cursor"])
    assert first.json["data"] + rest == every
    assert await entries(posthorn, "--until", "2026-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--operation", "endpoint.creat"), "did you mean 'endpoint.create'?"),
        (("--since", "yesterday"), "--since:"),
        (("--cursor", "abc"), "--cursor:"),
        (("--organization", "org_nobody"), "There is no organization 'org_nobody'"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(posthorn: Run, options: tuple[str, str], told: str) -> None:
    refused = await posthorn("audit", "list", *options)
    assert refused.code != 0
    assert told in refused.err
