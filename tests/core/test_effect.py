"""What the end of an attempt does beyond its own delivery."""

from datetime import timedelta
from uuid import UUID

import pytest

from service.core.deliveries.announcements import endpoint_gone
from service.core.deliveries.attempt import AttemptStarted
from service.core.deliveries.delivery import Delivery, DeliveryKey
from service.core.deliveries.effect import CountFailure, Effect, EndSubscription, ShutGate, effects_of
from service.core.deliveries.outcome import Accepted, Failed, Gone
from service.core.deliveries.request import Fault, Reply
from service.core.deliveries.settlement import Bury, conclude
from service.core.endpoints.gates.gate import GateKind
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.reason import Reason
from tests.fakes.clock import START

DELIVERY = Delivery(DeliveryKey(UUID(int=7 << 76 | 2 << 62), 7), "org_1", "evt_1", "message.sent", b"{}", "ep_1", START)
URL = "https://a.example/"
ENDED_AT = START + timedelta(seconds=1)
COUNTED = CountFailure("ep_1", is_outage=True)
REFUSED = CountFailure("ep_1", is_outage=False)
SHUT = ShutGate("ep_1", 100.0, GateKind.RETRY_AFTER)


def test_only_a_wish_for_the_endpoint_shuts_its_gate() -> None:
    throttled = Failed(Reason.HTTP_STATUS, retry_after_seconds=100, gates_endpoint=True, is_outage=True)
    at_once = Failed(Reason.HTTP_STATUS, retry_after_seconds=0, gates_endpoint=True)
    busy = Failed(Reason.HTTP_STATUS, retry_after_seconds=100)
    assert effects_of(throttled, DELIVERY, URL, START) == (COUNTED, SHUT)
    assert effects_of(at_once, DELIVERY, URL, START) == effects_of(busy, DELIVERY, URL, START) == (REFUSED,)


def test_what_is_our_own_fault_counts_for_nobody() -> None:
    assert effects_of(Failed(Reason.INTERNAL, is_ours=True), DELIVERY, URL, START) == ()


def test_gone_ends_the_subscription_that_led_there() -> None:
    assert effects_of(Gone(), DELIVERY, URL, START) == (EndSubscription(7, URL, endpoint_gone(DELIVERY, START)),)
    assert effects_of(Accepted(), DELIVERY, URL, START) == ()


@pytest.mark.parametrize(
    ("reply", "effects"),
    [
        (Reply(200, 1, retry_after=("100",)), ()),
        (Reply(429, 1, retry_after=("100",)), (COUNTED, SHUT)),
        (Reply(503, 1, retry_after=("100",)), (COUNTED, SHUT)),
        (Reply(429, 1), (COUNTED,)),
        (Reply(404, 1), (REFUSED,)),
        (Reply(301, 1), (REFUSED,)),
        (Reply(999, 1), (COUNTED,)),
        (Fault(Reason.BLOCKED_DESTINATION, 1), (REFUSED,)),
        (Fault(Reason.CONNECT_REFUSED, 1), (COUNTED,)),
        (Reply(500, 1, retry_after=("100",)), (COUNTED,)),
        (Fault(Reason.TIMEOUT, 1), (COUNTED,)),
        (Fault(Reason.INTERNAL, 1), ()),
        (Reply(410, 1), (EndSubscription(7, URL, endpoint_gone(DELIVERY, ENDED_AT)),)),
        (Fault(Reason.LOST, 0), ()),
    ],
    ids=str,
)
def test_the_end_of_an_attempt_carries_its_effects(reply: Reply | Fault, effects: tuple[Effect, ...]) -> None:
    started = AttemptStarted(DELIVERY, 3, URL, START)
    settled = conclude(started, reply, STANDARD, ENDED_AT, 0.0)
    assert settled.effects == effects
    assert (settled.delivery, settled.claim_number) == (DELIVERY, 3)
    assert settled.attempt is not None
    assert (settled.attempt.number, settled.attempt.claim_number, settled.attempt.started_at) == (1, 3, START)


def test_a_receiver_that_asks_for_a_pause_is_heard_on_the_last_attempt_too() -> None:
    reply = Reply(429, 1, retry_after=("100",))
    settled = conclude(AttemptStarted(DELIVERY, 1, URL, START), reply, RetrySchedule(attempts_max=1), START, 0.0)
    assert settled.settlement == Bury(Reason.ATTEMPTS_EXHAUSTED)
    assert settled.effects[:2] == (COUNTED, SHUT)
