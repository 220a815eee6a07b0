"""One delivery, one attempt."""

import pytest

from service.core.deliveries.delivery import Lease
from service.core.deliveries.headers import RecordedHeaders
from service.core.deliveries.outcome import OutcomeKind
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Accept, Retry
from service.core.reason import Reason
from tests.fakes.delivery_store import alike
from tests.fakes.events import event_of
from tests.flow.worker import MARGIN_SECONDS, TIMEOUT_SECONDS, Worker
from webhook_signature import Webhook

URL = "https://a.example/"


async def _lease(worker: Worker, seconds: float = 60.0) -> Lease:
    """A lease of a delivery to ``a``, with so much of it left."""
    await worker.endpoint("a")
    await worker.intake.take_in([event_of()], "test")
    (claim,) = await worker.store.claim_due(alike(1))
    (subscription,) = await worker.directory.serving([claim])
    assert subscription is not None
    return Lease(claim.delivery, subscription.endpoint, claim.claim_number, worker.clock.monotonic() + seconds)


async def test_the_stored_bytes_are_sent_signed_and_the_reply_becomes_an_attempt() -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker)
        worker.sender.script(URL, Reply(200, 12, b"thanks", headers=((b"Server", b"a"),)))
        settled = await worker.deliver(lease)
        assert settled is not None
        assert settled.attempt is not None
        assert settled.settlement == Accept()
        assert (settled.attempt.number, settled.attempt.claim_number, settled.attempt.reply) == (1, 1, "thanks")
        (request,) = worker.sender.requests
        assert (request.url, request.timeout_seconds) == (URL, TIMEOUT_SECONDS)
        assert settled.attempt.headers == RecordedHeaders(request.recorded, {"Server": "a"}).write()
        assert request.limit_seconds == 60.0 - MARGIN_SECONDS, "as long as the lease lasts, less the commit"
        assert request.body == lease.delivery.body
        secret = worker.database.endpoints[lease.endpoint.id].secrets[0].sealed.rpartition("|")[2]
        webhook = Webhook(secret, now=worker.clock.now().timestamp)
        verified = webhook.verify(request.body, dict(request.headers))
        assert verified.id == "evt_1"


async def test_too_little_lease_left_to_begin() -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker, TIMEOUT_SECONDS + MARGIN_SECONDS - 0.001)
        assert await worker.deliver(lease) is None
        assert worker.sender.requests == []


async def test_just_enough_lease_left_to_begin() -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker, TIMEOUT_SECONDS + MARGIN_SECONDS)
        assert await worker.deliver(lease) is not None


async def test_a_worker_that_was_stopped_does_not_begin_with_an_old_lease() -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker)
        worker.clock.advance(59)
        assert await worker.deliver(lease) is None


async def test_an_endpoint_whose_secret_does_not_open_is_not_called_and_pays_nothing() -> None:
    async with Worker(delivers=False) as worker:
        worker.secret_box.forget_keys()
        settled = await worker.deliver(await _lease(worker))
        assert settled is not None
        assert settled.attempt is not None
        assert settled.settlement == Retry(30.0, Reason.INTERNAL)
        assert not settled.attempt.is_counted
        assert worker.sender.requests == []


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.DNS, Reason.TLS, Reason.BLOCKED_DESTINATION])
async def test_no_reply_is_a_failed_attempt_without_a_status(reason: Reason) -> None:
    async with Worker(delivers=False) as worker:
        lease = await _lease(worker)
        worker.sender.script(URL, Fault(reason, 15_000, "what happened"))
        settled = await worker.deliver(lease)
        assert settled is not None
        attempt = settled.attempt
        assert attempt is not None
        assert (attempt.outcome, attempt.reason, attempt.status) == (OutcomeKind.FAILED, reason, None)
        assert (attempt.duration_ms, attempt.detail, attempt.reply) == (15_000, "what happened", "")
