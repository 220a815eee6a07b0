"""trigger and deliveries against a service that runs: an event in, a signed POST out, and the record of it."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.postgres.engine import connect
from service.adapters.postgres.events.types import EventTypeStore
from service.cli.deliveries.showing import print_deliveries
from service.cli.tables import near
from tests.cli.command import Run, free_port, serving
from tests.cli.reach import Api
from tests.fakes.actor import SOMEBODY
from webhook_signature import Webhook

DELIVERY_KEYS = {
    "id",
    "event_id",
    "event_type",
    "endpoint_id",
    "subscription_id",
    "replay_number",
    "held_by",
    "attempts_max",
    "state",
    "reason",
    "last_status",
    "attempts_made",
    "created_at",
    "next_attempt_at",
    "ended_at",
}


@asynccontextmanager
async def receiver(status: int) -> AsyncIterator[tuple[str, asyncio.Queue[tuple[bytes, Any]]]]:
    """Where requests arrive, and what arrived."""
    arrived: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        arrived.put_nowait((await request.read(), request.headers))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/hook", arrived
    finally:
        await runner.cleanup()


async def test_an_event_goes_in_over_http_and_out_signed(environment: dict[str, str], posthorn: Run) -> None:
    scopes = ("--scopes", "publish")
    key = (await posthorn("keys", "create", "--organization", "org_a", *scopes, "--json")).json["key"]
    add = ("endpoints", "add", "--organization", "org_a", "--event-types", "message.sent,link.clicked", "--json")
    async with receiver(200) as (url, arrived), serving(environment) as service:
        endpoint = (await posthorn(*add, "--url", url)).json
        await service.told("service.started")
        trigger = ("trigger", "message.sent", "--organization", "org_a", "--count", "2", "--via", "http", "--json")
        triggered = await posthorn(*trigger, "--key", key)
        assert (triggered.code, triggered.err) == (0, "")
        event_ids = triggered.json["event_ids"]
        webhook = Webhook(endpoint["secret"])
        async with asyncio.timeout(100):
            received = [await arrived.get() for _ in event_ids]
        sent = {webhook.verify(*each).id: each[1] for each in received}
        assert sent.keys() == set(event_ids)
        service.signal(signal.SIGTERM)
        assert await service.end() == 0
    listed = await posthorn("deliveries", "list", "--organization", "org_a", "--state", "delivered", "--json")
    assert {each["event_id"] for each in listed.json["data"]} == set(event_ids)
    assert listed.json["next_cursor"] is None
    await _show(posthorn, listed.json["data"][0], sent)
    await _page(posthorn, [each["id"] for each in listed.json["data"]])
    await _replay(posthorn, listed.json["data"][0])


async def _show(posthorn: Run, delivery: dict[str, Any], sent: dict[str, Any]) -> None:
    assert delivery.keys() == DELIVERY_KEYS
    shown = (await posthorn("deliveries", "show", delivery["id"], "--json")).json
    [attempt] = shown.pop("attempts")
    assert shown == delivery
    assert (attempt["number"], attempt["outcome"], attempt["reason"], attempt["status"]) == (1, "accepted", None, 200)
    assert attempt["started_at"].endswith("Z")
    assert isinstance(attempt["duration_ms"], int)
    headers = sent[delivery["event_id"]]
    signed = ("webhook-id", "webhook-timestamp", "webhook-signature")
    sent_headers = attempt["request"]["headers"]
    assert {name: sent_headers[name] for name in signed} == {name: headers[name] for name in signed}
    assert attempt["reply_headers"].keys() == {"Content-Length", "Date", "Server"}
    assert "accepted" in (await posthorn("deliveries", "show", delivery["id"])).out


async def _replay(posthorn: Run, delivery: dict[str, Any]) -> None:
    replayed = (await posthorn("deliveries", "replay", delivery["id"], "--json")).json
    assert replayed.keys() == DELIVERY_KEYS
    assert (replayed["id"], replayed["state"]) == (f"{delivery['id']}_1", "pending")
    again = await posthorn("deliveries", "replay", replayed["id"])  # nobody serves now: it waits
    assert (again.code, again.out) == (1, "")
    assert "still pending" in again.err
    first = ("--event", delivery["event_id"], "--status-code", "200", "--event-type", "message.sent", "--json")
    assert [each["id"] for each in (await posthorn("deliveries", "list", *first)).json["data"]] == [delivery["id"]]


async def _page(posthorn: Run, ids: list[str]) -> None:
    first = (await posthorn("deliveries", "list", "--limit", "1", "--json")).json
    second = (await posthorn("deliveries", "list", "--cursor", first["next_cursor"], "--json")).json
    assert [each["id"] for each in first["data"] + second["data"]] == ids
    assert (await posthorn("deliveries", "list", "--cursor", "nonsense")).code == 2
    assert (await posthorn("deliveries", "list", "--event", "evt_none", "--json")).json["data"] == []


async def test_an_event_goes_in_over_the_broker(environment: dict[str, str], posthorn: Run, amqp_url: str) -> None:
    environment |= {"AMQP_URL": amqp_url}
    trigger = ("trigger", "message.replied", "--organization", "org_a", "--json")
    unknown = await posthorn(*trigger, AMQP_URL=amqp_url)
    assert (unknown.code, unknown.out) == (1, "")
    assert "posthorn keys create --organization org_a" in unknown.err
    await posthorn("keys", "create", "--organization", "org_a")
    async with receiver(503) as (url, arrived):
        add = ("endpoints", "add", "--organization", "org_a", "--event-types", "message.replied")
        await posthorn(*add, "--url", url)
        early = await posthorn(*trigger, AMQP_URL=amqp_url)  # before anybody consumes: it waits in the queue
        assert (early.code, early.json["via"]) == (0, "amqp")
        async with serving(environment, "--role", "worker") as service:
            async with asyncio.timeout(100):
                _, headers = await arrived.get()
            assert headers["webhook-id"] == early.json["event_ids"][0]
            service.signal(signal.SIGTERM)
            assert await service.end() == 0
    event = ("--event", early.json["event_ids"][0])
    [delivery] = (await posthorn("deliveries", "list", *event, "--state", "pending", "--json")).json["data"]
    assert (delivery["attempts_made"], delivery["reason"]) == (1, "http_status")
    assert delivery["next_attempt_at"].endswith("Z")


async def test_an_own_event_type_is_triggered_with_its_sample(
    posthorn: Run, environment: dict[str, str], amqp_url: str
) -> None:
    trigger = ("trigger", "order.placed", "--organization", "org_a")
    engine = connect(environment["DATABASE_URL"])
    types, organizations = EventTypeStore(engine), OrganizationStore(engine)
    await organizations.create("org_a", by=SOMEBODY)
    assert "unknown event type" in (await posthorn(*trigger, AMQP_URL=amqp_url)).err
    await types.register("org_a", "order.placed", "", "{}", None, by=SOMEBODY)
    assert "has no sample" in (await posthorn(*trigger, AMQP_URL=amqp_url)).err
    await types.add_sample("org_a", "order.placed", '{"order":7}', by=SOMEBODY)
    published = await posthorn(*trigger, "--json", AMQP_URL=amqp_url, POSTHORN_AMQP_BINDINGS="order.*")
    assert published.err == ""
    assert (published.code, published.json["type"], len(published.json["event_ids"])) == (0, "order.placed", 1)
    await engine.dispose()


async def test_what_is_missing_is_told(posthorn: Run, amqp_url: str) -> None:
    trigger = ("trigger", "message.sent", "--organization", "org_a")
    assert "export AMQP_URL=" in (await posthorn(*trigger)).err
    assert "did you mean" in (await posthorn("trigger", "message.snt", "--organization", "org_a")).err
    keyless = await posthorn(*trigger, "--via", "http")
    assert keyless.code == 2
    assert "posthorn keys create" in keyless.err
    unheard = await posthorn(*trigger, "--via", "http", "--key", "k")
    assert unheard.code == 1
    assert "posthorn serve" in unheard.err
    away = await posthorn(*trigger, AMQP_URL="amqp://someone:hunter2@127.0.0.1:1/", DATABASE_URL="")
    assert away.code == 1
    assert "amqp://someone:***@127.0.0.1:1/" in away.err
    assert "hunter2" not in away.err
    unlisted = await posthorn("deliveries", "show", "dlv_" + "0" * 32 + "_1", "--json")
    assert (unlisted.code, unlisted.out) == (1, "")
    unreplayed = await posthorn("deliveries", "replay", "dlv_" + "0" * 32 + "_1", "--json")
    assert (unreplayed.code, unreplayed.out) == (1, "")
    for command in ("show", "replay"):
        assert (await posthorn("deliveries", command, "nonsense")).code == 2


async def test_what_a_gate_keeps_back_is_listed_as_held(environment: dict[str, str], posthorn: Run) -> None:
    scopes = ("--scopes", "publish")
    key = (await posthorn("keys", "create", "--organization", "org_a", *scopes, "--json")).json["key"]
    added = await posthorn(
        *("endpoints", "add", "--organization", "org_a", "--event-types", "message.sent"),
        *("--url", "https://a.example/hook", "--json"),
    )
    assert (await posthorn("endpoints", "pause", added.json["id"], "--organization", "org_a")).code == 0
    async with serving(environment) as service:
        await service.told("service.started")
        trigger = ("trigger", "message.sent", "--organization", "org_a", "--via", "http", "--key", key)
        assert (await posthorn(*trigger)).code == 0
        service.signal(signal.SIGTERM)
        assert await service.end() == 0
    for whose in (("--organization", "org_a"), ()):
        listed = await posthorn("deliveries", "list", *whose)
        assert "0/12  held, paused" in listed.out
        assert "due" not in listed.out


async def test_over_http_what_waits_is_told_as_beside_the_database(api: Api, posthorn: Run) -> None:
    reach = {"POSTHORN_API_URL": api.url, "POSTHORN_API_KEY": api.key, "DATABASE_URL": ""}
    add = ("endpoints", "add", "--url", "https://a.example/hook", "--event-types", "message.sent", "--json")
    endpoint = (await posthorn(*add, **reach)).json["id"]
    assert (await posthorn("endpoints", "test", endpoint, **reach)).code == 0
    mine = ("deliveries", "list", "--endpoint", endpoint)
    assert re.search(
        r"· pending .* not tried yet +0/12  due \d\d:\d\d:\d\d  dlv_", (await posthorn(*mine, **reach)).out
    )
    assert (await posthorn("endpoints", "pause", endpoint, **reach)).code == 0
    assert re.search(r"‖ pending .* 0/12  held, paused  dlv_", (await posthorn(*mine, **reach)).out)


def test_how_a_delivery_stands_is_said_in_few_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the design's picture."""
    failed = {"last_status": 503, "reason": "http_status"}
    waits = {"attempts_max": 12, "next_attempt_at": _at("14:40:30"), "held_by": {"until": _at("14:48:55")}}
    untried = _listed("pending", attempts_made=0, **waits)
    tried = _listed("pending", attempts_made=4, **waits, **failed)
    ended = _listed("delivered", attempts_made=1, last_status=204, ended_at=_at("14:40:12.096"))
    dead = _listed("dead", attempts_made=3, last_status=413, reason="payload_too_large", ended_at=_at("14:40:12"))
    print_deliveries([untried, tried, ended, dead])
    until = near(datetime.fromisoformat(_at("14:48:55")), datetime.now(UTC), "%H:%M")
    assert [re.split(" {2,}", line)[:5] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["‖ pending", "message.sent", "not tried yet", "0/12", f"held to {until}"],
        ["‖ pending", "message.sent", "503 http_status", "4/12", f"held to {until}"],
        ["✓ delivered", "message.sent", "204", "1", "took 96 ms"],
        ["✗ dead", "message.sent", "413 payload_too_large", "3", "given up"],
    ]


def _at(clock: str) -> str:
    return f"2026-11-20T{clock}Z"


def _listed(state: str, **fields: object) -> dict[str, Any]:
    names = ("reason", "last_status", "next_attempt_at", "ended_at", "attempts_max", "held_by")
    known = {"id": f"dlv_{state}", "state": state, "event_type": "message.sent", "created_at": _at("14:40:12")}
    return dict.fromkeys(names) | known | fields
