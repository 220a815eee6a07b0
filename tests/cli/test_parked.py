"""parked: the whole way of an operator, from the list to an event that is delivered after all."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from service.adapters.rabbitmq.topology import declare_topology
from service.core.events.sample import sample_event
from service.ports.source import Topology
from tests.cli.command import Finished, Run

pytestmark = pytest.mark.clock
HOSTILE_TEXT = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture
async def channel(amqp_url: str, amqp_prefix: str) -> AsyncIterator[AbstractChannel]:
    await declare_topology(amqp_url, Topology(amqp_prefix))
    async with await aiormq.connect(amqp_url) as connection:
        yield await connection.channel()


@pytest.fixture
def run(posthorn: Run, amqp_url: str) -> Run:
    async def with_broker(*arguments: str, **changes: str) -> Finished:
        return await posthorn("parked", *arguments, **{"AMQP_URL": amqp_url} | changes)

    return with_broker


async def park(channel: AbstractChannel, prefix: str, body: bytes, **headers: str) -> None:
    ours = {f"x-posthorn-{name}": value for name, value in headers.items()}
    properties = Basic.Properties(headers=dict(ours), message_id="evt_1")
    await channel.basic_publish(body, exchange=f"{prefix}.parked", properties=properties)


def event(organization_id: str) -> bytes:
    return sample_event("message.sent", organization_id, event_id="evt_1", number=1, now=datetime.now(UTC))


async def waiting(channel: AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0


async def test_a_message_is_listed_shown_mended_in_a_file_and_published_again(
    run: Run, channel: AbstractChannel, amqp_prefix: str, tmp_path: Path
) -> None:
    broken = event("org_a")[:-1]
    await park(channel, amqp_prefix, broken, reason="bad_json", detail=f"not JSON {HOSTILE_TEXT}")
    listed = await run("list", "--json")
    [row] = listed.json["data"]
    assert (row["reason"], row["body_bytes"], row["event_id"]) == ("bad_json", len(broken), "evt_1")
    plain = await run("list")
    assert row["id"] in plain.out
    assert "\x1b" not in plain.out

    file = tmp_path / "event.json"
    assert (await run("show", row["id"], "--save", str(file))).code == 0
    assert file.read_bytes() == broken
    assert (await run("show", row["id"], "--save", str(file))).code == 2, "no file is written over"
    still = await run("republish", row["id"], "--body", str(file))
    assert (still.code, await waiting(channel, f"{amqp_prefix}.parked")) == (1, 1)
    assert "bad_json" in still.err
    file.write_bytes(broken + b"}")
    done = await run("republish", row["id"], "--body", str(file), "--json")
    assert (done.code, done.json["done"]) == (0, [row["id"]])
    assert await waiting(channel, f"{amqp_prefix}.parked") == 0
    assert await waiting(channel, f"{amqp_prefix}.intake") == 1
    assert (await run("show", row["id"])).code == 1


async def test_all_of_a_reason_need_a_yes(run: Run, channel: AbstractChannel, amqp_prefix: str) -> None:
    for number in range(3):
        await park(channel, amqp_prefix, b"%d" % number, reason="bad_json", detail="x")
    await park(channel, amqp_prefix, event("org_wrong"), reason="unknown_organization", detail="x")
    counted = await run("discard", "--all", "--reason", "bad_json")
    assert (counted.code, counted.out) == (0, "3 messages would be discarded.\n")
    assert "--yes" in counted.err
    assert await waiting(channel, f"{amqp_prefix}.parked") == 4
    assert (await run("discard", "--all", "--reason", "bad_json", "--yes")).out == "3 messages discarded.\n"
    sent = await run("republish", "--all", "--organization", "org_b", "--yes")
    assert sent.out == "1 message published.\n"
    message = await channel.basic_get(f"{amqp_prefix}.intake")
    assert json.loads(message.body)["organization_id"] == "org_b"
    assert "Nothing is parked." in (await run("list")).err


async def test_what_is_asked_wrongly_changes_nothing(run: Run, channel: AbstractChannel, amqp_prefix: str) -> None:
    await park(channel, amqp_prefix, b"{", reason="bad_json", detail="x")
    for arguments in (("discard",), ("discard", "prk_1", "--all"), ("republish", "--all", "--body", "x", "--yes")):
        assert (await run(*arguments)).code == 2
    assert (await run("discard", "prk_1")).code == 1
    assert (await run("list", AMQP_URL="")).code == 2
    unreachable = await run("list", AMQP_URL="amqp://guest:hush@127.0.0.1:1/")
    assert unreachable.code == 1
    assert "hush" not in unreachable.err
    no_log = await run("discard", "--all", "--yes", DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")
    assert no_log.code == 1
    assert "DATABASE_URL" in no_log.err
    assert await waiting(channel, f"{amqp_prefix}.parked") == 1
