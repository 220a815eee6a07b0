"""What the end of an attempt does beyond its own delivery."""

from datetime import timedelta

import pytest

from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.effect import Effect, EndSubscription, ShutGate, effects_of
from service.core.deliveries.outcome import Accepted, Failed, Gone
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Bury, conclude
from service.core.endpoints.gate import GateKind
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.reason import Reason
from tests.fakes.clock import START
from tests.fakes.events import new_uid

DELIVERY = Delivery(DeliveryKey(new_uid(), 7), "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)
URL = "https://a.example/"


def test_only_a_wish_for_the_endpoint_shuts_its_gate() -> None:
    throttled = Failed(Reason.HTTP_STATUS, retry_after_seconds=100, gates_endpoint=True)
    at_once = Failed(Reason.HTTP_STATUS, retry_after_seconds=0, gates_endpoint=True)
    busy = Failed(Reason.HTTP_STATUS, retry_after_seconds=100)
    assert effects_of(throttled, DELIVERY, URL) == (ShutGate("ep_1", 100.0, GateKind.RETRY_AFTER),)
    assert effects_of(at_once, DELIVERY, URL) == effects_of(busy, DELIVERY, URL) == ()


def test_gone_ends_the_subscription_that_led_there() -> None:
    assert effects_of(Gone(), DELIVERY, URL) == (EndSubscription(7, URL),)
    assert effects_of(Accepted(), DELIVERY, URL) == ()


@pytest.mark.parametrize(
    ("reply", "effects"),
    [
        (Reply(200, 1, retry_after=("100",)), ()),
        (Reply(429, 1, retry_after=("100",)), (ShutGate("ep_1", 100.0, GateKind.RETRY_AFTER),)),
        (Reply(503, 1, retry_after=("100",)), (ShutGate("ep_1", 100.0, GateKind.RETRY_AFTER),)),
        (Reply(429, 1), ()),
        (Reply(500, 1, retry_after=("100",)), ()),
        (Reply(410, 1), (EndSubscription(7, URL),)),
        (Fault(Reason.LOST, 0), ()),
    ],
    ids=str,
)
def test_the_end_of_an_attempt_carries_its_effects(reply: Reply | Fault, effects: tuple[Effect, ...]) -> None:
    started = AttemptStarted(DELIVERY, 3, URL, START)
    settled = conclude(started, reply, STANDARD, START + timedelta(seconds=1), 0.0)
    assert settled.effects == effects
    assert (settled.delivery, settled.claim_number) == (DELIVERY, 3)
    assert settled.attempt is not None
    assert (settled.attempt.number, settled.attempt.claim_number, settled.attempt.started_at) == (1, 3, START)


def test_a_receiver_that_asks_for_a_pause_is_heard_on_the_last_attempt_too() -> None:
    reply = Reply(429, 1, retry_after=("100",))
    settled = conclude(AttemptStarted(DELIVERY, 1, URL, START), reply, RetrySchedule(attempts_max=1), START, 0.0)
    assert settled.settlement == Bury(Reason.ATTEMPTS_EXHAUSTED)
    assert settled.effects == (ShutGate("ep_1", 100.0, GateKind.RETRY_AFTER),)
