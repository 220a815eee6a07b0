"""Which acks are sent: every message once, and none that is being parked."""

from hypothesis import given
from hypothesis import strategies as st

from service.adapters.rabbitmq.unacked import Unacked


def _with(count: int) -> Unacked:
    unacked = Unacked()
    for tag in range(1, count + 1):
        unacked.add(tag)
    return unacked


def test_a_prefix_is_acked_together() -> None:
    unacked = _with(5)
    assert unacked.settle_all([1, 2, 3]) == [(3, True)]
    assert unacked.settle_all([1, 2, 3]) == []
    assert unacked.settle_all([4, 5]) == [(5, True)]


def test_what_came_after_an_unacked_message_is_acked_by_itself() -> None:
    unacked = _with(5)
    assert unacked.settle_all([1, 3, 4]) == [(1, True), (3, False), (4, False)]
    assert unacked.settle_all([2, 5]) == [(5, True)]


def test_what_is_being_parked_is_left_out_and_acked_by_itself() -> None:
    unacked = _with(5)
    unacked.withhold(3)
    assert unacked.settle_all([1, 2, 3, 4, 5]) == [(2, True), (4, False), (5, False)]
    assert unacked.settle(3)
    assert not unacked.settle(3)


def test_an_ack_never_names_a_message_that_was_rejected() -> None:
    unacked = _with(2)
    assert unacked.settle(2)
    assert unacked.settle_all([1, 2]) == [(1, True)]


@given(st.lists(st.sampled_from(["deliver", "withhold", "settle", "ack"]), max_size=60), st.randoms())
def test_a_broker_would_accept_every_ack(steps: list[str], random: object) -> None:
    unacked, at_broker, withheld, last = Unacked(), set[int](), set[int](), 0
    for step in steps:
        tag = random.randint(1, last + 1)  # type: ignore[attr-defined]
        match step:
            case "deliver":
                last += 1
                unacked.add(last)
                at_broker.add(last)
            case "withhold":
                assert unacked.is_free(tag) == (tag in at_broker and tag not in withheld)
                if unacked.is_free(tag):
                    unacked.withhold(tag)
                    withheld.add(tag)
            case "settle":
                assert unacked.settle(tag) == (tag in at_broker)
                at_broker.discard(tag)
                withheld.discard(tag)
            case _:
                batch = sorted(random.sample(range(1, last + 2), random.randint(1, last + 1)))  # type: ignore[attr-defined]
                for acked, is_with_earlier in unacked.settle_all(batch):
                    assert acked in at_broker
                    covered = {each for each in at_broker if each <= acked} if is_with_earlier else {acked}
                    assert covered <= set(batch) - withheld
                    at_broker -= covered
                assert at_broker & set(batch) <= withheld
