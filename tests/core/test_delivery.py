"""The steps, the keys, the fan-out."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.deliveries.delivery import FINAL_STATES, OPEN_STATES, STEPS, DeliveryKey, State, Step, fan_out
from service.core.endpoints.endpoint import Endpoint
from service.core.endpoints.subscription import Subscription
from tests.fakes.clock import START
from tests.fakes.events import new_uid


def test_a_final_state_has_no_step() -> None:
    assert set(STEPS) == set(State)
    assert {State.DELIVERED, State.DEAD, State.CANCELLED} == FINAL_STATES
    assert {State.PENDING, State.LEASED} == OPEN_STATES
    assert all(not STEPS[state] for state in FINAL_STATES)


def test_every_state_is_reached_and_every_open_one_can_end() -> None:
    reached = {following for steps in STEPS.values() for following in steps.values()}
    assert reached == set(State)
    for state in OPEN_STATES:
        assert FINAL_STATES & set(STEPS[state].values())


def test_a_success_is_possible_in_every_open_state() -> None:
    assert all(STEPS[state][Step.ACCEPT] is State.DELIVERED for state in OPEN_STATES)


@given(st.uuids(), st.integers(1, 10**18 - 1), st.integers(0, 10**9 - 1))
def test_a_key_reads_back_what_it_spells(uid: UUID, subscription_id: int, replay_number: int) -> None:
    key = DeliveryKey(uid, subscription_id, replay_number)
    assert DeliveryKey.parse(str(key)) == key


HEX = "019a00000000700080000000000000ff"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dlv_",
        f"dlv_{HEX}",
        f"dlv_{HEX}_",
        f"dlv_{HEX}_0",
        f"dlv_{HEX}_01",
        f"dlv_{HEX}_1_0",
        f"dlv_{HEX}_1_",
        f"dlv_{HEX}_1_1_1",
        f"dlv_{HEX.upper()}_1",
        f"dlv_{HEX[:-1]}_1",
        f"evt_{HEX}_1",
        f" dlv_{HEX}_1",
        f"dlv_{HEX}_1\n",
        f"dlv_{HEX}_{10**18}",
        f"dlv_{HEX}_١",
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert DeliveryKey.parse(text) is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser_and_no_key_has_two_spellings(text: str) -> None:
    key = DeliveryKey.parse(text)
    assert key is None or str(key) == text


def test_fan_out_makes_one_delivery_per_subscription() -> None:
    endpoints = [Endpoint(f"ep_{n}", "org_1", "https://a.example/", ()) for n in range(3)]
    subscriptions = tuple(Subscription(n + 1, "message.sent", each) for n, each in enumerate(endpoints))
    uid = new_uid()
    deliveries = fan_out(uid, "evt_1", "message.sent", b"{}", START, subscriptions)
    assert [each.key for each in deliveries] == [DeliveryKey(uid, n) for n in (1, 2, 3)]
    assert [each.endpoint_id for each in deliveries] == ["ep_0", "ep_1", "ep_2"]
    assert {each.body for each in deliveries} == {b"{}"}
    assert fan_out(uid, "evt_1", "message.sent", b"{}", START, ()) == ()
