"""Replay protection: told only what was verified, and for as long as a copy stays valid."""

from __future__ import annotations

import threading

import pytest

from webhook_signature import MemoryReplayStore, VerificationError, Webhook

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_700_000_000
BODY = b'{"a":1}'


class RecordingStore:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def seen(self, id: str, ttl: int, /) -> bool:  # noqa: A002 - the protocol's
        is_known = any(id == known for known, _ in self.asked)
        self.asked.append((id, ttl))
        return is_known


class BrokenStore:
    def seen(self, _id: str, _ttl: int, /) -> bool:
        raise ConnectionError


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_copy_is_refused_and_a_retry_is_not() -> None:
    """A receiver that verified an attempt and then failed must get the next attempt, which is signed afresh."""
    webhook = Webhook([SECRET], replay_store=MemoryReplayStore(), now=lambda: NOW)
    first = webhook.sign("msg_a", NOW - 5, BODY)
    retry = webhook.sign("msg_a", NOW, BODY)

    assert webhook.verify(BODY, first).id == "msg_a"
    with pytest.raises(VerificationError) as caught:
        webhook.verify(BODY, first)
    assert caught.value.reason == "replayed"
    assert webhook.verify(BODY, retry).id == "msg_a"


def test_the_store_is_told_only_after_a_signature_matched() -> None:
    store = RecordingStore()
    webhook = Webhook([SECRET], replay_store=store, now=lambda: NOW)
    headers = webhook.sign("msg_a", NOW, BODY)

    for body, forged in [
        (b"{}", headers),
        (BODY, {**headers, "webhook-id": "msg_b"}),
        (BODY, {**headers, "webhook-timestamp": "1"}),
        (BODY, {**headers, "webhook-signature": "v2,x"}),
    ]:
        with pytest.raises(VerificationError):
            webhook.verify(body, forged)
    assert store.asked == []

    webhook.verify(BODY, headers)
    assert store.asked == [(f"msg_a.{NOW}", 301)]


@pytest.mark.parametrize("age_seconds", [-300, -1, 0, 1, 300])
def test_a_copy_is_remembered_for_exactly_as_long_as_it_stays_valid(age_seconds: int) -> None:
    clock = Clock(NOW + age_seconds)
    store = MemoryReplayStore(now=clock)
    webhook = Webhook([SECRET], replay_store=store, now=clock)
    headers = webhook.sign("msg_a", NOW, BODY)
    webhook.verify(BODY, headers)

    reasons = []
    for now in (clock.now, NOW + 300, NOW + 300.9, NOW + 301):
        clock.now = now
        with pytest.raises(VerificationError) as caught:
            webhook.verify(BODY, headers)
        reasons.append(caught.value.reason)
    assert reasons == ["replayed", "replayed", "replayed", "too_old"]


def test_an_error_of_the_store_is_not_called_a_forgery() -> None:
    webhook = Webhook([SECRET], replay_store=BrokenStore(), now=lambda: NOW)

    with pytest.raises(ConnectionError):
        webhook.verify(BODY, webhook.sign("msg_a", NOW, BODY))


def test_the_memory_store_forgets_when_the_time_is_up() -> None:
    clock = Clock(0)
    store = MemoryReplayStore(now=clock)

    assert not store.seen("a", 10)
    clock.now = 9.9
    assert store.seen("a", 10)
    clock.now = 10  # being asked again did not prolong it
    assert not store.seen("a", 10)


def test_a_full_memory_store_forgets_what_it_saw_longest_ago() -> None:
    store = MemoryReplayStore(entries_max=2, now=lambda: 0)

    assert [store.seen(key, 10) for key in "abacab"] == [False, False, True, False, True, False]
    with pytest.raises(ValueError, match="entries_max"):
        MemoryReplayStore(entries_max=0)


def test_of_copies_that_arrive_together_one_is_new() -> None:
    store = MemoryReplayStore()
    start = threading.Barrier(8)
    answers: list[bool] = []

    def ask() -> None:
        start.wait()
        answers.extend([store.seen(str(number), 60) for number in range(200)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(False) == 200
