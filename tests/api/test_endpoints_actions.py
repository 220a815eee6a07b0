"""What can be done with an endpoint: pause, rotate, try, count. And what nobody may read."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.adapters.postgres.deliveries.store import PostgresDeliveryStore
from service.adapters.postgres.endpoints.directory import PostgresSubscriptionStore
from service.adapters.postgres.endpoints.health import _HEALTH, _STATS
from service.adapters.postgres.engine import driver
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.request import Fault
from service.core.endpoints.auth import ClientCertificate, OAuth2
from service.core.endpoints.directory import BEGINNING
from service.core.endpoints.endpoint import StoredEndpoint
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.endpoints.retry_schedule import STANDARD
from service.core.endpoints.subscription import Subscription
from service.flow.directory.directory import Directory
from service.flow.directory.opening import Opening
from tests.api.endpoints_rig import SECRET_BOX, URL, Town, end_by_410, town_on
from tests.api.entrance_rig import sql
from tests.fakes.administration import Administration
from tests.fakes.delivery_store import alike
from tests.fakes.secret_box import PlainSecretBox
from tests.fakes.settlements import INTERNAL, settled_by
from webhook_signature.sign import decode_secret

pytestmark = pytest.mark.clock

OWN_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    async with town_on(database_url) as town:
        yield town


async def stored(town: Town) -> StoredEndpoint:
    (page,) = await PostgresSubscriptionStore(town.engine).load({"org_1": BEGINNING}, endpoints_max=100)
    (endpoint,) = page.endpoints
    return endpoint


async def opened(town: Town) -> Sequence[Subscription]:
    """What a worker sees of the one endpoint."""
    directory = Directory(PostgresSubscriptionStore(town.engine), SECRET_BOX)
    return await directory.subscriptions_of("org_1", (await stored(town)).id)


# --------------------------------------------------------------------------- what a worker makes of it


async def test_what_was_asked_for_reaches_the_worker(town: Town) -> None:
    asked: dict[str, Any] = {
        "secret": OWN_SECRET,
        "headers": {"X-Api-Key": "open-sesame"},
        "signature_style": "t-v1",
        "signature_header": "X-Blooio-Signature",
        "filter": {"scope": {"campaign_id": ["camp_A"]}},
        "retry": "politicalcomms",
        "timeout_seconds": 10,
    }
    made = await town.create(**asked)
    (subscription,) = await opened(town)
    endpoint = subscription.endpoint
    assert (endpoint.problem, endpoint.headers, endpoint.timeout_seconds) == (None, asked["headers"], 10)
    assert endpoint.filter is not None
    assert endpoint.schedule is not None
    assert endpoint.schedule.delays_seconds == (4, 16, 64)
    now = datetime.now(UTC)
    assert endpoint.keys_at(now) == (OWN_SECRET.encode(),)
    await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"signature_style": None, "retry": [1, 2]})
    (subscription,) = await opened(town)
    assert subscription.endpoint.problem is None
    assert subscription.endpoint.schedule is not None
    assert subscription.endpoint.schedule.delays_seconds == (1, 2)
    assert subscription.endpoint.keys_at(now) == (decode_secret(OWN_SECRET),)


# --------------------------------------------------------------------------- pause


async def test_pause_and_resume_hold_when_they_are_answered_and_can_be_repeated(town: Town) -> None:
    made = await town.create()
    for action, state, gates in (
        ("pause", "paused", 1),
        ("pause", "paused", 1),
        ("resume", "active", 0),
        ("resume", "active", 0),
    ):
        told = await town.ask("POST", f"/v1/endpoints/{made['id']}/{action}")
        assert (told.status, told.json["state"]) == (200, state)
        assert (await stored(town)).is_paused is (state == "paused")
        assert await sql(town.engine, "SELECT count(*) FROM gates WHERE kind = 'paused'") == gates


async def shut(town: Town, endpoint_id: str, kind: str, until: str = "infinity", detail: str | None = None) -> None:
    async with driver(town.engine) as connection:
        await connection.execute(
            "INSERT INTO gates (endpoint_id, kind, until, detail) VALUES ($1, $2, $3::text::timestamptz, $4)",
            *(endpoint_id, kind, until, detail),
        )


async def test_an_endpoint_says_why_it_waits_since_when_and_until_when(town: Town) -> None:
    made = await town.create(rate_limit_per_second=1)
    assert made["gates"] == []
    await shut(town, made["id"], "retry_after", "2126-01-01")
    await shut(town, made["id"], "disabled", detail="it has been failing for five days")
    await sql(town.engine, "UPDATE endpoint_limits SET opens_at = '2126-01-02' RETURNING 1")
    told = await town.get(made["id"])
    assert told["state"] == "disabled"
    gates = {each.pop("kind"): each for each in told["gates"]}
    since = [gates[each].pop("since") for each in ("retry_after", "disabled")]
    in_effect_at = [gates[each].pop("in_effect_at") for each in ("retry_after", "disabled")]
    spans = [datetime.fromisoformat(b) - datetime.fromisoformat(a) for a, b in zip(since, in_effect_at, strict=True)]
    assert spans == [timedelta(seconds=5)] * 2
    assert all(abs(datetime.fromisoformat(each) - datetime.now(UTC)) < timedelta(minutes=1) for each in since)
    assert gates == {
        "retry_after": {
            "reason": "the receiver asked for a pause (Retry-After)",
            "until": "2126-01-01T00:00:00.000000Z",
        },
        "disabled": {"reason": "it has been failing for five days", "until": None},
        "rate_limit": {
            "reason": "the endpoint's rate_limit_per_second is used up",
            "since": None,
            "in_effect_at": None,
            "until": "2126-01-02T00:00:00.000000Z",
        },
    }


async def test_a_disabled_endpoint_is_listed_as_such_and_resumed_in_one_call(town: Town) -> None:
    made = await town.create()
    active = (await town.create(f"{URL}/active"))["id"]
    for kind in ("disabled", "paused"):
        await shut(town, made["id"], kind)

    async def listed(state: str) -> list[str]:
        return [each["id"] for each in (await town.ask("GET", f"/v1/endpoints?state={state}")).json["data"]]

    assert [await listed(each) for each in ("disabled", "paused", "active", "gone")] == [[made["id"]], [], [active], []]
    told = await town.ask("POST", f"/v1/endpoints/{made['id']}/resume")
    assert (told.json["state"], told.json["gates"]) == ("active", [])


@pytest.mark.parametrize(
    ("kind", "until", "told"),
    [
        ("paused", "infinity", "the endpoint is paused"),
        ("disabled", "infinity", "the endpoint is disabled"),
        (
            "retry_after",
            "2126-01-01",
            "the receiver asked for a pause (Retry-After), until 2126-01-01T00:00:00.000000Z",
        ),
    ],
)
async def test_a_test_that_would_wait_is_refused_with_the_reason(town: Town, kind: str, until: str, told: str) -> None:
    made = await town.create()
    await shut(town, made["id"], kind, until)
    refused = await town.ask("POST", f"/v1/endpoints/{made['id']}/test")
    assert (refused.status, refused.json["code"]) == (409, "ENDPOINT_GATED")
    assert refused.json["error"] == f"nothing is sent to this endpoint now: {told}"
    assert refused.json["errors"] == {"gates": [f"{kind}: {told}"]}
    assert await sql(town.engine, "SELECT count(*) FROM events") == 0
    await sql(town.engine, "UPDATE gates SET until = now() RETURNING 1")
    assert (await town.ask("POST", f"/v1/endpoints/{made['id']}/test")).status == 202


async def open_breaker(town: Town, endpoint_id: str) -> None:
    store = PostgresDeliveryStore(town.engine, worker_name="w", lease_seconds=60, breaker=BreakerLimits(failures=1))
    assert (await town.ask("POST", f"/v1/endpoints/{endpoint_id}/test")).status == 202
    await store.settle([settled_by(claim, 503) for claim in await store.claim_due(alike(1))])


async def test_an_open_breaker_says_so_and_resuming_tries_the_endpoint_at_once(town: Town) -> None:
    made = await town.create()
    await open_breaker(town, made["id"])
    (gate,) = (await town.get(made["id"]))["gates"]
    assert (gate["kind"], gate["since"] < gate["until"]) == ("breaker", True)
    assert "failed 1 times in a row" in gate["reason"]
    refused = await town.ask("POST", f"/v1/endpoints/{made['id']}/test")
    assert (refused.status, gate["until"] in refused.json["error"]) == (409, True)
    (trying,) = (await town.ask("POST", f"/v1/endpoints/{made['id']}/resume")).json["gates"]
    assert (trying["kind"], trying["until"]) == ("breaker", None)
    assert (await town.ask("POST", f"/v1/endpoints/{made['id']}/test")).status == 202
    (probe,) = await PostgresDeliveryStore(town.engine, worker_name="w", lease_seconds=60).claim_due(alike(9))
    assert probe.grant is not None


async def test_a_new_url_begins_with_a_closed_breaker(town: Town) -> None:
    made = await town.create()
    await open_breaker(town, made["id"])
    moved = await town.ask("PATCH", f"/v1/endpoints/{made['id']}", {"url": f"{URL}/moved"})
    assert moved.json["gates"] == []
    assert await sql(town.engine, "SELECT count(*) FROM breakers") == 0
    assert await sql(town.engine, "SELECT count(*) FROM endpoint_limits") == 0


async def test_a_test_waits_for_its_turn_at_an_endpoint_that_is_at_its_limit(town: Town) -> None:
    made = await town.create(rate_limit_per_second=1)
    await sql(town.engine, "UPDATE endpoint_limits SET opens_at = '2126-01-02' RETURNING 1")
    assert (await town.ask("POST", f"/v1/endpoints/{made['id']}/test")).status == 202


# --------------------------------------------------------------------------- rotate


async def test_a_rotation_overlaps_for_a_day(town: Town) -> None:
    made = await town.create()
    before = datetime.now(UTC)
    told = await town.ask("POST", f"/v1/endpoints/{made['id']}/rotate-secret")
    assert told.status == 200
    assert set(told.json) == {"id", "secret", "public_key", "overlap_ends_at", "in_effect_at"}
    in_effect_at = datetime.fromisoformat(told.json["in_effect_at"])
    assert timedelta(seconds=5) <= in_effect_at - before < timedelta(minutes=1)
    ends_at = datetime.fromisoformat(told.json["overlap_ends_at"])
    assert abs(ends_at - before - timedelta(days=1)) < timedelta(minutes=1)
    newest, oldest = (await town.get(made["id"]))["secrets"]
    assert (newest["hint"], newest["expires_at"]) == (told.json["secret"][-4:], None)
    assert (oldest["hint"], oldest["expires_at"]) == (made["secret"][-4:], told.json["overlap_ends_at"])
    (subscription,) = await opened(town)
    assert len(subscription.endpoint.secrets) == 2


async def test_without_an_overlap_only_the_new_secret_is_left(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    await town.ask("POST", path)
    told = await town.ask("POST", path, {"overlap_seconds": 0, "secret": OWN_SECRET})
    in_effect_at = told.json["in_effect_at"]
    assert told.json == {
        "id": made["id"],
        "secret": OWN_SECRET,
        "public_key": None,
        "overlap_ends_at": None,
        "in_effect_at": in_effect_at,
    }
    assert len((await stored(town)).secrets) == 1
    assert await sql(town.engine, "SELECT count(*) FROM endpoint_secrets") == 1


async def test_no_secret_ends_later_than_was_asked_and_three_are_the_most(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    first = await town.ask("POST", path, {"overlap_seconds": 3600})
    second = await town.ask("POST", path, {"overlap_seconds": 86_400})
    ends = [each["expires_at"] for each in (await town.get(made["id"]))["secrets"]]
    assert ends == [None, second.json["overlap_ends_at"], first.json["overlap_ends_at"]]
    refused = await town.ask("POST", path, {"overlap_seconds": 1})
    assert (refused.status, refused.json["code"]) == (409, "CONFLICT")
    assert first.json["overlap_ends_at"] in refused.json["error"]
    async with driver(town.engine) as connection:
        await connection.execute(
            "UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at < now() + interval '2 h'"
        )
    third = await town.ask("POST", path, {"overlap_seconds": 60})
    assert third.json["overlap_ends_at"] < second.json["overlap_ends_at"]
    assert await sql(town.engine, "SELECT count(*) FROM endpoint_secrets") == 3
    assert (await town.ask("POST", path, {"overlap_seconds": 0})).status == 200


async def test_an_overlap_ends_when_it_is_asked_to_and_only_the_newest_secret_is_left(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}"
    nothing = await town.ask("POST", f"{path}/end-overlap")
    assert (nothing.status, nothing.json["ended_count"]) == (200, 0)
    await town.ask("POST", f"{path}/rotate-secret")
    newest = (await town.ask("POST", f"{path}/rotate-secret", {"secret": OWN_SECRET})).json["secret"]
    before = datetime.now(UTC)
    told = await town.ask("POST", f"{path}/end-overlap")
    assert (told.status, set(told.json)) == (200, {"id", "ended_count", "in_effect_at"})
    assert (told.json["id"], told.json["ended_count"]) == (made["id"], 2)
    assert timedelta(seconds=5) <= datetime.fromisoformat(told.json["in_effect_at"]) - before < timedelta(minutes=1)
    (left,) = (await town.get(made["id"]))["secrets"]
    assert (left["hint"], left["expires_at"]) == (newest[-4:], None)
    assert await sql(town.engine, "SELECT count(*) FROM endpoint_secrets") == 1
    (subscription,) = await opened(town)
    assert subscription.endpoint.keys_at(datetime.now(UTC)) == (decode_secret(OWN_SECRET),)
    entry = """SELECT jsonb_array_length(before::jsonb -> 'secrets') || ' to ' ||
                      jsonb_array_length(after::jsonb -> 'secrets')
                 FROM audit_log WHERE operation = 'endpoint.end_overlap'"""
    assert await sql(town.engine, entry) == "3 to 1"
    assert (await town.ask("POST", f"{path}/end-overlap")).json["ended_count"] == 0
    entries = "SELECT count(*) FROM audit_log WHERE operation = 'endpoint.end_overlap'"
    assert await sql(town.engine, entries) == 1, "what changes nothing leaves no entry"


async def test_no_overlap_ends_at_an_endpoint_that_has_ended(town: Town) -> None:
    made = await town.create()
    await town.ask("POST", f"/v1/endpoints/{made['id']}/rotate-secret")
    await end_by_410(town, made["id"])
    assert (await town.ask("POST", f"/v1/endpoints/{made['id']}/end-overlap")).status == 409
    assert (await town.ask("POST", "/v1/endpoints/ep_nobody/end-overlap")).status == 404


@pytest.mark.parametrize("value", [-1, 30 * 86_400 + 1, 1.5, "60", True, 10**30, None])
async def test_a_bad_overlap_is_named(town: Town, value: object) -> None:
    made = await town.create()
    errors = await town.refused("POST", f"/v1/endpoints/{made['id']}/rotate-secret", {"overlap_seconds": value})
    assert list(errors) == ["overlap_seconds"]


# --------------------------------------------------------------------------- test


async def test_a_test_is_a_flagged_event_with_one_delivery_to_this_endpoint(town: Town) -> None:
    made = await town.create(event_types=["message.replied", "*"], filter={"match": {"type": {"eq": "nothing"}}})
    await town.create(f"{URL}/other", event_types=["*"])
    told = await town.ask("POST", f"/v1/endpoints/{made['id']}/test")
    assert told.status == 202, told.body
    assert told.json["endpoint_id"] == made["id"]
    assert (told.json["event_type"], told.json["state"], told.json["attempts_made"]) == (
        "message.replied",
        "pending",
        0,
    )
    assert await sql(town.engine, "SELECT count(*) FROM deliveries") == 1
    key = DeliveryKey.parse(told.json["id"])
    assert key is not None
    envelope = json.loads(await sql(town.engine, "SELECT body FROM events WHERE uid = $1 AND is_test", key.event_uid))
    assert (envelope["test"], envelope["id"]) == (True, told.json["event_id"])


@pytest.mark.parametrize(
    ("event_types", "asked", "sent"),
    [
        (["message.sent"], None, "message.sent"),
        (["link.*"], None, "link.clicked"),
        (["*"], None, "message.sent"),
        (["message.sent"], "link.clicked", "link.clicked"),
    ],
)
async def test_the_type_of_a_test(town: Town, event_types: Sequence[str], asked: str | None, sent: str) -> None:
    made = await town.create(event_types=event_types)
    told = await town.ask("POST", f"/v1/endpoints/{made['id']}/test", {"event_type": asked})
    assert (told.status, told.json["event_type"]) == (202, sent)


async def test_a_test_of_an_own_event_type_is_its_sample(town: Town) -> None:
    add = """INSERT INTO event_types (organization_id, name, description, schema, sample)
             VALUES ('org_1', 'order.placed', '', '{}', $1)"""
    await sql(town.engine, add, '{"order": {"id": 9007199254740993, "total": 1.0}}')
    made = await town.create(event_types=["order.*"])
    for asked in ({"event_type": "order.placed"}, None):
        told = await town.ask("POST", f"/v1/endpoints/{made['id']}/test", asked)
        assert (told.status, told.json["event_type"]) == (202, "order.placed")
    bodies = await sql(town.engine, "SELECT array_agg(body) FROM events")
    assert len(bodies) == 2
    for body in bodies:
        assert b'"data":{"order": {"id": 9007199254740993, "total": 1.0}}' in body
        assert b'"test":true' in body


async def test_a_test_of_an_own_event_type_without_a_sample_says_what_to_do(town: Town) -> None:
    statement = "INSERT INTO event_types (organization_id, name, description, schema) VALUES ('org_1', $1, '', '{}')"
    await sql(town.engine, statement, "order.placed")
    made = await town.create(event_types=["order.placed"])
    for asked in ({"event_type": "order.placed"}, None):
        errors = await town.refused("POST", f"/v1/endpoints/{made['id']}/test", asked)
        assert "give it a `sample`" in errors["event_type"][0]
    assert await sql(town.engine, "SELECT count(*) FROM events") == 0


@pytest.mark.parametrize("event_type", ["message.nothing", "*", "message.*", "", "\u0000", 5])
async def test_a_test_of_no_event_type_is_refused(town: Town, event_type: object) -> None:
    made = await town.create()
    assert list(await town.refused("POST", f"/v1/endpoints/{made['id']}/test", {"event_type": event_type})) == [
        "event_type"
    ]


# --------------------------------------------------------------------------- health and stats


async def deliver(town: Town, endpoint_id: str, *replies: int | Fault) -> None:
    """Try a test event once for each reply: a retry is brought near."""
    store = PostgresDeliveryStore(town.engine, worker_name="w", lease_seconds=60)
    assert (await town.ask("POST", f"/v1/endpoints/{endpoint_id}/test")).status == 202
    for reply in replies:
        async with driver(town.engine) as connection:
            await connection.execute("UPDATE open_deliveries SET next_attempt_at = now()")
        claims = await store.claim_due(alike(1))
        await store.settle([settled_by(claim, reply) for claim in claims])
    async with driver(town.engine) as connection:  # the fakes' clock stands still
        await connection.execute("UPDATE attempts SET started_at = clock_timestamp()")


async def test_health_tells_of_the_newest_outcome(town: Town) -> None:
    made = await town.create()
    await deliver(town, made["id"], INTERNAL)
    assert (await town.get(made["id"]))["health"]["status"] == "idle"
    async with driver(town.engine) as connection:
        await connection.execute("DELETE FROM open_deliveries")
    await deliver(town, made["id"], 500)
    failing = (await town.get(made["id"]))["health"]
    assert (failing["status"], failing["consecutive_failures"], failing["last_success_at"]) == ("failing", 1, None)
    assert (failing["last_failure_reason"], failing["last_failure_status"]) == ("http_status", 500)
    async with driver(town.engine) as connection:
        await connection.execute("DELETE FROM open_deliveries")
    await deliver(town, made["id"], 200)
    healthy = (await town.get(made["id"]))["health"]
    assert (healthy["status"], healthy["consecutive_failures"], healthy["last_failure_at"]) == ("healthy", 0, None)
    assert healthy["last_success_at"] is not None


async def test_health_of_each_endpoint_of_a_list(town: Town) -> None:
    good, bad, idle = [(await town.create(f"{URL}{number}"))["id"] for number in range(3)]
    await deliver(town, good, 200)
    await deliver(town, bad, 503, 503)
    listed = (await town.ask("GET", "/v1/endpoints")).json["data"]
    assert {each["id"]: each["health"]["status"] for each in listed} == {good: "healthy", bad: "failing", idle: "idle"}


async def test_stats_count_by_state_and_reason(town: Town) -> None:
    made = await town.create()
    path = f"/v1/endpoints/{made['id']}/stats"
    empty = (await town.ask("GET", path)).json
    assert (empty["success_rate"], empty["latency_ms"], empty["oldest_pending_age_seconds"]) == (
        None,
        {"p50": None, "p95": None},
        None,
    )
    await deliver(town, made["id"], 200)
    await deliver(town, made["id"], 500, 200)
    await deliver(town, made["id"], *([500] * 12))
    await deliver(town, made["id"])
    found = (await town.ask("GET", f"{path}?hours=1")).json
    assert found["by_state"] == {"delivered": 2, "dead": 1, "cancelled": 0, "pending": 1, "leased": 0}
    assert found["by_reason"] == {"attempts_exhausted": 1}
    assert found["success_rate"] == 0.6667
    assert found["duration_ms"] == {"p50": 7.0, "p95": 7.0}
    assert found["latency_ms"]["p95"] >= found["latency_ms"]["p50"] > 0
    assert found["oldest_pending_age_seconds"] > 0
    assert found["is_capped"] is False
    assert found["hours"] == 1


@pytest.mark.parametrize("hours", ["0", "169", "x", "99999999999999999999"])
async def test_bad_hours_are_named(town: Town, hours: str) -> None:
    made = await town.create()
    told = await town.ask("GET", f"/v1/endpoints/{made['id']}/stats?hours={hours}")
    assert (told.status, list(told.json["errors"])) == (400, ["hours"])


@pytest.mark.parametrize("query", ["health", "stats"])
async def test_what_grows_is_read_by_index(town: Town, query: str) -> None:
    uid = DeliveryKey.parse("dlv_" + "0" * 32 + "_1")
    assert uid is not None
    values: tuple[Any, ...] = ("org_1", ["message.sent"], uid.event_uid, UUID(int=2**128 - 1))
    text, rest = (_HEALTH, (["ep_1"], 10)) if query == "health" else (_STATS, ("ep_1", 10, 10, 10))
    async with driver(town.engine) as connection:
        # What other tests left in its statistics goes, too: an empty table that was analysed is read by any index.
        await connection.execute("TRUNCATE open_deliveries")
        await connection.execute("SET enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN {text}", *values, *rest)
        await connection.execute("RESET enable_seqscan")
    plan = "\n".join(row[0] for row in rows)
    scans = [line for line in plan.splitlines() if "Seq Scan" in line]
    assert not scans, plan
    for index in ("endpoint_id_event_type_event_uid", "open_deliveries_by_endpoint"):
        assert index in plan, plan
    assert "Sort Key: d.event_uid" not in plan, plan


# --------------------------------------------------------------------------- what nobody may read


async def dump(town: Town) -> str:
    """Every row of every table, as text."""
    async with driver(town.engine) as connection:
        tables = await connection.fetch(
            """SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
                AND relnamespace = 'public'::regnamespace"""
        )
        rows = [await connection.fetch(f'SELECT t::text FROM "{table["relname"]}" t') for table in tables]  # noqa: S608 - names from the catalogue
    return "\n".join(row[0] for found in rows for row in found)


async def test_no_answer_but_one_and_no_row_shows_a_secret_or_a_header(town: Town) -> None:
    named = {"Idempotency-Key": "k1"}
    body = {"url": URL, "event_types": ["*"], "headers": {"X-Api-Key": "open-sesame"}}
    made = (await town.ask("POST", "/v1/endpoints", body, **named)).json
    path = f"/v1/endpoints/{made['id']}"
    rotated = (await town.ask("POST", f"{path}/rotate-secret", {"secret": OWN_SECRET}, **named)).json
    told = [
        await town.ask("POST", "/v1/endpoints", body),
        await town.ask("GET", path),
        await town.ask("GET", "/v1/endpoints"),
        await town.ask("PATCH", path, {"headers": {"X-Api-Key": "***", "X-B": "open-barley"}}),
        await town.ask("PATCH", path, {"headers": {"X-Api-Key": "open-sesame\n", "X-B": "open-barley"}}),
        await town.ask("POST", f"{path}/pause"),
        await town.ask("POST", f"{path}/test"),
        await town.ask("GET", f"{path}/stats"),
    ]
    shown = "\n".join(each.body.decode() for each in told) + await dump(town)
    assert made["id"] in shown
    for secret in (made["secret"], rotated["secret"], "open-sesame", "open-barley"):
        assert secret.removeprefix("whsec_") not in shown
    assert made["url"] == URL


async def test_headers_that_cannot_be_decrypted_do_no_harm(town: Town) -> None:
    made = await town.create(headers={"X-A": "a"})
    path = f"/v1/endpoints/{made['id']}"
    async with driver(town.engine) as connection:
        await connection.execute("UPDATE endpoints SET sealed_headers = 'v1:k9:AAAA'")
    assert (await town.get(made["id"]))["headers"] is None
    assert (await town.ask("PATCH", path, {"description": "new"})).json["headers"] is None
    assert await sql(town.engine, "SELECT sealed_headers FROM endpoints") == "v1:k9:AAAA"
    assert list(await town.refused("PATCH", path, {"headers": {"X-A": "***"}})) == ["headers.X-A"]
    assert (await town.ask("PATCH", path, {"headers": {"X-A": "b"}})).json["headers"] == {"X-A": "***"}


OAUTH2 = {
    "type": "oauth2",
    "token_url": "https://auth.example.com/token",
    "client_id": "posthorn",
    "client_secret": "open-oats",
}


async def test_an_auth_is_sealed_and_its_secret_never_shown(town: Town) -> None:
    made = await town.create(auth=OAUTH2)
    path = f"/v1/endpoints/{made['id']}"
    hidden = dict.fromkeys(made["auth"]) | OAUTH2 | {"client_secret": "***"}
    assert made["auth"] == hidden
    kept = await town.ask("PATCH", path, {"auth": OAUTH2 | {"client_secret": "***", "scope": "hooks"}})
    assert kept.json["auth"] == hidden | {"scope": "hooks"}
    moved = OAUTH2 | {"client_secret": "***", "token_url": "https://elsewhere.example.com/"}
    assert list(await town.refused("PATCH", path, {"auth": moved})) == ["auth.client_secret"]
    told = [await town.ask("GET", "/v1/endpoints"), await town.ask("GET", path), kept]
    assert "open-oats" not in "\n".join(each.body.decode() for each in told) + await dump(town)
    assert (await town.ask("PATCH", path, {"description": "new"})).json["auth"] == hidden | {"scope": "hooks"}
    opened = Opening(SECRET_BOX, STANDARD)("org_1", await stored(town))
    assert opened.auth == OAuth2(OAUTH2["token_url"], "posthorn", "open-oats", "hooks")
    assert (await town.ask("PATCH", path, {"auth": None})).json["auth"] is None
    assert await sql(town.engine, "SELECT sealed_auth FROM endpoints") is None


async def test_an_auth_that_cannot_be_decrypted_is_told_and_stays(town: Town) -> None:
    made = await town.create(auth=OAUTH2)
    path = f"/v1/endpoints/{made['id']}"
    async with driver(town.engine) as connection:
        await connection.execute("UPDATE endpoints SET sealed_auth = 'v1:k9:AAAA'")
    assert (await town.get(made["id"]))["auth"] == dict.fromkeys(made["auth"]) | {"type": "unreadable"}
    await town.ask("PATCH", path, {"description": "new"})
    assert await sql(town.engine, "SELECT sealed_auth FROM endpoints") == "v1:k9:AAAA"
    hidden = OAUTH2 | {"client_secret": "***"}
    assert list(await town.refused("PATCH", path, {"auth": hidden})) == ["auth.client_secret"]
    assert (await town.ask("PATCH", path, {"auth": OAUTH2})).json["auth"]["type"] == "oauth2"


def _certificate(days: int) -> tuple[dict[str, str], datetime]:
    """An ``auth`` with a certificate for so many days, and when it expires."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "posthorn")])
    now = datetime.now(UTC).replace(microsecond=0)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private_key = key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()
    auth = {"type": "mtls", "certificate": built.public_bytes(pem).decode(), "private_key": private_key}
    return auth, now + timedelta(days=days)


async def test_a_client_certificate_is_sealed_and_shows_when_it_expires(town: Town) -> None:
    auth, expires_at = _certificate(days=20)
    made = await town.create(auth=auth)
    path = f"/v1/endpoints/{made['id']}"
    assert made["auth"] == dict.fromkeys(made["auth"]) | auth | {"private_key": "***"}
    assert datetime.fromisoformat(made["auth_expires_at"]) == expires_at
    assert await sql(town.engine, "SELECT auth_expires_at FROM endpoints") == expires_at
    line = auth["private_key"].splitlines()[1]
    told = [await town.ask("GET", "/v1/endpoints"), await town.ask("GET", path)]
    assert line not in "\n".join(each.body.decode() for each in told) + await dump(town)
    assert (await town.ask("PATCH", path, {"auth": made["auth"]})).json["auth"] == made["auth"]
    other, _ = _certificate(days=20)
    renewed = {"auth": other | {"private_key": "***"}}
    assert list(await town.refused("PATCH", path, renewed)) == ["auth.private_key"]
    expired, _ = _certificate(days=-1)
    assert list(await town.refused("PATCH", path, {"auth": expired})) == ["auth.certificate"]
    opened = Opening(SECRET_BOX, STANDARD)("org_1", await stored(town))
    assert opened.auth == ClientCertificate(auth["certificate"], auth["private_key"], expires_at)
    await town.ask("PATCH", path, {"auth": None})
    assert (await town.get(made["id"]))["auth_expires_at"] is None


# --------------------------------------------------------------------------- the command line's verbs


async def test_what_the_command_line_makes_is_an_endpoint_here(town: Town) -> None:
    administration = Administration(town.engine, PlainSecretBox())
    made = await administration.add_endpoint("org_1", URL, ["message.sent"])
    assert (await town.get(made.id))["event_types"] == ["message.sent"]
    assert await administration.pause_endpoint("org_1", made.id, True)  # noqa: FBT003
    assert (await town.get(made.id))["state"] == "paused"


TEXT_SECRET = "the secret of a receiver that has one already"


async def test_a_receivers_own_text_signs_in_the_styles_that_use_text(town: Town) -> None:
    wanted = {"url": URL, "event_types": ["*"], "secret": TEXT_SECRET}
    refused = await town.ask("POST", "/v1/endpoints", wanted)
    assert refused.status == 400
    assert list(refused.json["errors"]) == ["secret"]
    short = await town.ask("POST", "/v1/endpoints", wanted | {"signature_style": "t-v1", "secret": "short"})
    assert short.json["errors"] == {"secret": ["a secret must have at least 16 characters"]}
    made = await town.ask("POST", "/v1/endpoints", wanted | {"signature_style": "t-v1"})
    assert made.status == 201
    assert made.json["secret"] == TEXT_SECRET


async def test_a_style_that_a_secret_cannot_sign_in_is_refused_until_it_is_rotated(town: Town) -> None:
    wanted = {"url": URL, "event_types": ["*"], "secret": TEXT_SECRET, "signature_style": "sha256-body"}
    path = f"/v1/endpoints/{(await town.ask('POST', '/v1/endpoints', wanted)).json['id']}"
    refused = await town.ask("PATCH", path, {"signature_style": "standard"})
    assert refused.status == 409
    assert list(refused.json["errors"]) == ["signature_style"]
    assert (await town.ask("GET", path)).json["signature_style"] == "sha256-body"
    await town.ask("POST", f"{path}/rotate-secret", {"overlap_seconds": 0})
    changed = await town.ask("PATCH", path, {"signature_style": "standard"})
    assert changed.status == 200
    again = await town.ask("POST", f"{path}/rotate-secret", {"secret": TEXT_SECRET})
    assert list(again.json["errors"]) == ["secret"]
