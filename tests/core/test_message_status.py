"""A message's status does not depend on the order in which its events came."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.events.message_status import MessageClicks, MessageReaction, MessageState, MessageStatus, fold_message
from service.core.events.registry import REGISTRY
from service.core.timestamp import format_timestamp

START = datetime(2026, 11, 20, 18, tzinfo=UTC)
TYPES = (*REGISTRY, "order.placed")
TIMES = ("submitted_at", "sent_at", "delivered_at", "read_at", "failed_at", "received_at")


def at(seconds: int) -> str:
    return format_timestamp(START + timedelta(seconds=seconds))


def told(event_type: str, seconds: int, event_id: str = "", *, message: Any = None, **data: Any) -> dict[str, Any]:
    """An event at a time; its message is ``m`` unless said."""
    whole = {"id": "m", **(message or {})}
    event_id = event_id or f"evt_{event_type}_{seconds}".replace(".", "_")
    return {"id": event_id, "type": event_type, "timestamp": at(seconds), "data": {"message": whole, **data}}


def fold(*envelopes: dict[str, Any]) -> MessageStatus:
    return fold_message("m", envelopes)


SENT, DELIVERED = told("message.sent", 1), told("message.delivered", 5)
READ = told("message.delivered", 9, message={"status": "read"})
FAILED = told("message.failed", 3, error={"code": "30003", "message": "unreachable", "retryable": True})


@pytest.mark.parametrize(
    ("envelopes", "state"),
    [
        ([SENT], MessageState.SENT),
        ([SENT, DELIVERED], MessageState.DELIVERED),
        ([SENT, DELIVERED, READ], MessageState.READ),
        ([READ], MessageState.READ),
        ([SENT, FAILED], MessageState.FAILED),
        ([SENT, FAILED, told("message.sent", 4)], MessageState.SENT),
        ([SENT, FAILED, DELIVERED], MessageState.DELIVERED),
        ([told("link.clicked", 7)], MessageState.UNKNOWN),
        ([told("link.clicked", 7, message={"sent_at": at(2)})], MessageState.SENT),
        ([told("order.placed", 7, message={"submitted_at": at(2)})], MessageState.SUBMITTED),
        ([told("message.replied", 2)], MessageState.RECEIVED),
    ],
)
def test_the_furthest_it_came(envelopes: list[dict[str, Any]], state: MessageState) -> None:
    assert fold(*envelopes).status is state


def test_times_are_the_messages_own_and_else_the_events() -> None:
    own = told("message.sent", 10, message={"submitted_at": at(2), "sent_at": at(3)})
    status = fold(own, told("message.sent", 8), DELIVERED, FAILED)
    assert status.submitted_at == START + timedelta(seconds=2)
    assert status.sent_at == START + timedelta(seconds=3)
    assert status.delivered_at == START + timedelta(seconds=5)
    assert status.failed_at == START + timedelta(seconds=3)
    assert status.error is not None
    assert (status.error.code, status.error.message, status.error.retryable) == ("30003", "unreachable", True)


def test_replies_reactions_and_clicks() -> None:
    reply = told("message.replied", 20, message={"id": "r", "text": "yes"}, reply_to={"message_id": "m"})
    tapback = {"type": "heart", "at": at(21), "from_urn": "tel:+1"}
    tapped = told("message.replied", 21, message={"id": "t", "reactions": [tapback]}, reply_to={"message_id": "m"})
    again = told("message.delivered", 22, message={"reactions": [tapback]})
    clicks = [
        told("link.clicked", 30, click={"id": "c1", "clicked_at": at(29)}),
        told("link.clicked", 31, click={"id": "c1", "clicked_at": at(31)}),
        told("link.clicked", 32, click={"id": "c2", "clicked_at": at(28), "is_bot": False}),
        told("link.clicked", 33, click={"id": "c3", "clicked_at": at(40), "is_bot": True}),
    ]
    status = fold(SENT, reply, tapped, again, *clicks)
    assert [(each.message_id, each.text) for each in status.replies] == [("r", "yes"), ("t", None)]
    assert status.reactions == [MessageReaction(START + timedelta(seconds=21), "heart", "tel:+1")]
    assert status.clicks == MessageClicks(2, START + timedelta(seconds=31), 1)
    assert status.status is MessageState.DELIVERED


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just("\ud800"),
    st.sampled_from(["m", "read", "failed", "nonsense"]),
    st.integers(0, 50).map(at),
    st.lists(st.fixed_dictionaries({"type": st.sampled_from(["up", 3, None])}), max_size=2),
)
MESSAGES = st.dictionaries(st.sampled_from([*TIMES, "status", "text", "reactions"]), VALUES, max_size=4)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "click": st.fixed_dictionaries(
            {"id": st.sampled_from(["c1", "c2", 3]), "is_bot": VALUES, "clicked_at": VALUES}
        ),
        "error": st.one_of(VALUES, st.fixed_dictionaries({"code": VALUES, "message": VALUES, "retryable": VALUES})),
        "reply_to": st.one_of(VALUES, st.just({"message_id": "m"})),
    },
)
EVENTS = st.lists(
    st.builds(
        lambda event_type, seconds, number, message, message_id, parts: told(
            event_type, seconds, f"evt_{number}", message={**message, "id": message_id}, **parts
        ),
        st.sampled_from(TYPES), st.integers(0, 50), st.integers(0, 10**6), MESSAGES, st.sampled_from(["m", "r", None, 7]),
        PARTS,
    ),
    max_size=8,
    unique_by=lambda each: each["id"],
)  # fmt: skip


@given(EVENTS, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(envelopes: list[dict[str, Any]], draw: random.Random) -> None:
    status = fold(*envelopes)
    shuffled = envelopes + envelopes[: len(envelopes) // 2]
    draw.shuffle(shuffled)
    assert fold(*shuffled) == status


@given(EVENTS)
def test_it_never_takes_a_fact_back(envelopes: list[dict[str, Any]]) -> None:
    """One more event may move a time back or add what was not known; what was known stays known."""
    for count in range(len(envelopes)):
        before, after = fold(*envelopes[:count]), fold(*envelopes[: count + 1])
        for name in ("submitted_at", "sent_at", "delivered_at", "read_at", "received_at"):
            known, later = getattr(before, name), getattr(after, name)
            assert known is None or (later is not None and later <= known)
        assert set(before.event_ids) <= set(after.event_ids)
        assert before.clicks.count <= after.clicks.count


@given(EVENTS)
def test_whatever_it_says_can_be_encoded(envelopes: list[dict[str, Any]]) -> None:
    status = fold(*envelopes)
    texts = [status.error and (status.error.code, status.error.message), status.replies, status.reactions]
    json.dumps(str(texts), ensure_ascii=False).encode()
