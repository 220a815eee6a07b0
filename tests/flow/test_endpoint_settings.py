"""What an endpoint asks for takes effect."""

from typing import Any

import pytest

from service.core.deliveries.delivery import Lease
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Bury, Retry, Settled
from service.core.endpoints.auth import OAuth2
from service.core.endpoints.retry_schedule import RetrySchedule
from service.core.reason import Reason
from tests.fakes.delivery_store import alike
from tests.fakes.events import EXAMPLE_DATA, event_of
from tests.flow.worker import LEASE_SECONDS, MARGIN_SECONDS, TIMEOUT_SECONDS, Worker
from webhook_signature import Webhook

URL = "https://a.example/"
FILTER = {"scope": {"campaign_id": ["camp_A"]}}
OURS = Retry(30.0, Reason.INTERNAL)


def _of_campaign(name: str, **changes: Any) -> Any:
    return event_of(data={**EXAMPLE_DATA["message.sent"], "scope": {"campaign_id": name}}, **changes)


async def _lease(worker: Worker, **settings: Any) -> Lease:
    """A delivery to ``a``, which asks for this, claimed."""
    endpoint_id = await worker.endpoint("a")
    await worker.administration.set_endpoint(endpoint_id, **settings)
    await worker.intake.take_in([event_of()], "test")
    return await _claimed(worker)


async def _claimed(worker: Worker) -> Lease:
    expires_at = worker.clock.monotonic() + LEASE_SECONDS
    (claim,) = await worker.store.claim_due(alike(1))
    (subscription,) = await worker.directory.serving([claim])
    assert subscription is not None
    return Lease(claim.delivery, subscription.endpoint, claim.claim_number, expires_at)


async def _settled(worker: Worker, lease: Lease) -> Settled:
    settled = await worker.deliver(lease)
    assert settled is not None
    return settled


# --------------------------------------------------------------------------- which events


async def test_a_filter_decides_at_fan_out() -> None:
    async with Worker(delivers=False) as worker:
        filtered, plain = await worker.endpoint("a"), await worker.endpoint("b")
        await worker.administration.set_endpoint(filtered, filter=FILTER)
        await worker.intake.take_in([_of_campaign("camp_A", id="evt_1"), _of_campaign("camp_B", id="evt_2")], "test")
        made = {(row.delivery.event_id, row.delivery.endpoint_id) for row in worker.database.deliveries.values()}
        assert made == {("evt_1", filtered), ("evt_1", plain), ("evt_2", plain)}


async def test_a_filter_that_was_changed_before_the_publish_decides() -> None:
    async with Worker(delivers=False) as worker:
        endpoint_id = await worker.endpoint("a")
        await worker.intake.take_in([_of_campaign("camp_B", id="evt_1")], "test")
        await worker.administration.set_endpoint(endpoint_id, filter=FILTER)
        await worker.intake.take_in([_of_campaign("camp_B", id="evt_2")], "test")
        assert [row.delivery.event_id for row in worker.database.deliveries.values()] == ["evt_1"]


async def test_patterns_give_one_delivery_by_the_most_specific() -> None:
    async with Worker(delivers=False) as worker:
        await worker.endpoint("a", "*", "message.*", "message.sent")
        await worker.endpoint("b", "message.*")
        await worker.intake.take_in([event_of(id="evt_1"), event_of(id="evt_2", type="link.clicked")], "test")
        made = [
            (row.delivery.event_id, row.delivery.key.subscription_id) for row in worker.database.deliveries.values()
        ]
        assert sorted(made) == [("evt_1", 3), ("evt_1", 4), ("evt_2", 1)]


# --------------------------------------------------------------------------- how they are sent


async def test_headers_and_style_go_over_the_wire() -> None:
    async with Worker(delivers=False) as worker:
        headers = {"Authorization": "Bearer x", "x-webhook-SIGNATURE-not": "a"}
        lease = await _lease(worker, headers=headers, signature_style="t-v1", signature_header="X-Blooio-Signature")
        assert (await _settled(worker, lease)).settlement.reason is None
        (request,) = worker.sender.requests
        assert headers.items() <= request.headers.items()
        assert "webhook-signature" not in request.headers
        secret = worker.database.endpoints[lease.endpoint.id].secrets[0].sealed.rpartition("|")[2]
        webhook = Webhook(secret, style="t-v1", signature_header="X-Blooio-Signature", now=worker.clock.now().timestamp)
        assert webhook.verify(request.body, dict(request.headers)).body == lease.delivery.body


async def test_the_sender_is_told_how_to_prove_itself_and_a_missing_token_is_nobodys_attempt() -> None:
    async with Worker(delivers=False) as worker:
        auth = OAuth2("https://auth.example.com/", "posthorn", "hunter2")
        lease = await _lease(worker, auth=auth)
        worker.sender.script(URL, Fault(Reason.AUTH_REFUSED, 3, "the token server answered 401: invalid_client"))
        settled = await _settled(worker, lease)
        (request,) = worker.sender.requests
        assert (request.auth, request.endpoint_id) == (auth, lease.endpoint.id)
        assert settled.settlement == Retry(30.0, Reason.AUTH_REFUSED)
        assert settled.attempt is not None
        assert (settled.attempt.is_counted, settled.effects) == (False, ())


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"sealed_auth": "v1:k1:of another row"}, "does not open"),
        ({"sealed_headers": "v1:k1:of another row"}, "does not open"),
        ({"headers": {"Content-Length": "1"}}, "['Content-Length'] cannot be sent"),
        ({"headers": {"X-A": "a\r\nX-B: c"}}, "['X-A'] cannot be sent"),
        ({"signature_style": "ed448"}, "'ed448' is not supported"),
        ({"signature_style": "t-v1", "signature_header": "a b"}, "a header name"),
        ({"filter": {"match": {"data.x": 1}}}, "match.data.x"),
        ({"retry": "never"}, "retry must be"),
    ],
)
async def test_a_setting_that_cannot_be_read_stops_this_endpoint_alone(settings: dict[str, Any], part: str) -> None:
    async with Worker(delivers=False) as worker:
        settled = await _settled(worker, await _lease(worker, **settings))
        assert settled.settlement == OURS
        assert settled.attempt is not None
        assert not settled.attempt.is_counted
        assert part in settled.attempt.detail
        assert worker.sender.requests == []
        await worker.endpoint("b")
        await worker.intake.take_in([event_of(id="evt_2")], "test")
        outcomes = []
        for _ in range(2):
            settled = await _settled(worker, await _claimed(worker))
            assert settled.attempt is not None
            outcomes.append(settled.attempt.outcome)
        assert sorted(outcomes) == [OutcomeKind.ACCEPTED, OutcomeKind.FAILED]


async def test_a_text_secret_signs_where_the_style_takes_text() -> None:
    """Such a secret is no whsec_ of 24 bytes: with the style standard it stops the endpoint."""
    async with Worker(delivers=False) as worker:
        made = await worker.administration.add_endpoint("org_1", URL, ["message.sent"], "a plain text")
        await worker.intake.take_in([event_of(), event_of(id="evt_2")], "test")
        assert (await _settled(worker, await _claimed(worker))).settlement == OURS
        await worker.administration.set_endpoint(made.id, signature_style="sha256-body")
        assert (await _settled(worker, await _claimed(worker))).settlement.reason is None
        (request,) = worker.sender.requests
        verified = Webhook("a plain text", style="sha256-body").verify(request.body, dict(request.headers))
        assert verified.key_index == 0


# --------------------------------------------------------------------------- how often, and how long


async def test_an_endpoints_own_schedule_decides_when_and_how_often() -> None:
    async with Worker(delivers=False, schedule=RetrySchedule(jitter=0.0)) as worker:
        lease = await _lease(worker, retry=[7, 90])
        worker.sender.otherwise = Reply(500, 1)
        worker.start_settle()
        settlements = []
        for _ in range(3):
            settled = await _settled(worker, lease)
            settlements.append(settled.settlement)
            await worker.settle.put(settled)
            await worker.settle.drained()
            if isinstance(settled.settlement, Retry):
                worker.clock.advance(settled.settlement.delay_seconds)
                lease = await _claimed(worker)
        assert settlements == [
            Retry(7.0, Reason.HTTP_STATUS),
            Retry(90.0, Reason.HTTP_STATUS),
            Bury(Reason.ATTEMPTS_EXHAUSTED),
        ]


async def test_an_endpoints_own_schedule_holds_for_a_lost_attempt_too() -> None:
    async with Worker(delivers=False) as worker:
        await _lease(worker, retry=[7])
        worker.start_settle()
        for state in ("pending", "pending", "dead"):
            worker.clock.advance(LEASE_SECONDS + 1)
            await worker.upkeep.rescue_once()
            await worker.settle.drained()
            assert worker.states() == [state]
            worker.clock.advance(8)
            await worker.claim(begins=True)
        (row,) = worker.database.deliveries.values()
        assert row.reason is Reason.ATTEMPTS_EXHAUSTED


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(None, TIMEOUT_SECONDS), (3.0, 3.0), (30.0, 30.0), (600.0, LEASE_SECONDS - MARGIN_SECONDS)],
)
async def test_an_endpoints_own_timeout_as_far_as_the_lease_allows(asked: float | None, taken: float) -> None:
    async with Worker(delivers=False) as worker:
        await _settled(worker, await _lease(worker, timeout_seconds=asked))
        (request,) = worker.sender.requests
        assert request.timeout_seconds == taken


async def test_a_long_timeout_does_not_keep_an_older_lease_from_beginning() -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker, timeout_seconds=600.0)
        worker.clock.advance(30)
        await _settled(worker, lease)
        (request,) = worker.sender.requests
        assert request.timeout_seconds == LEASE_SECONDS - 30 - MARGIN_SECONDS
