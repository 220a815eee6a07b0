"""Endpoints that fail for days: which stage they come to, and what is said of it."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from service.core.endpoints.gates.failing import ATTEMPTS_MIN, DisablingPolicy, Stage, Streak, recovery
from service.core.events.event import parse_event
from service.core.events.schema import envelope_schema
from tests.fakes.clock import START

DAYS = 5
POLICY = DisablingPolicy(timedelta(days=DAYS).total_seconds())
STREAK = Streak("org_1", "ep_1", ("message.sent",), START, ATTEMPTS_MIN)


def _stage(days: float, streak: Streak = STREAK, policy: DisablingPolicy = POLICY) -> Stage | None:
    reached = policy.judge(streak, START + timedelta(days=days))
    return reached.stage if reached is not None else None


@pytest.mark.parametrize(
    ("days", "changes", "stage"),
    [
        (0, {}, None),
        (2.49, {}, None),
        (2.5, {}, Stage.WARNED),
        (2.5, {"attempts_failed": 1}, Stage.WARNED),
        (3, {"stage": Stage.WARNED, "attempts_told": 19}, None),
        (4.49, {"stage": Stage.WARNED, "attempts_told": 19}, None),
        (4.5, {"stage": Stage.WARNED, "attempts_told": 19}, Stage.WARNED_AGAIN),
        (4.5, {"stage": Stage.WARNED, "attempts_told": 20}, None),
        (4.6, {}, Stage.WARNED_AGAIN),
        (5, {"stage": Stage.WARNED_AGAIN, "attempts_told": 19}, Stage.DISABLED),
        (5, {"stage": Stage.WARNED_AGAIN, "attempts_told": 20}, None),
        (5, {"stage": Stage.WARNED, "attempts_failed": 19}, Stage.WARNED_AGAIN),
        (50, {"stage": Stage.WARNED_AGAIN, "attempts_failed": 19}, None),
        (50, {}, Stage.DISABLED),
        (50, {"stage": Stage.DISABLED}, None),
    ],
)
def test_the_stage_that_an_endpoint_comes_to(days: float, changes: dict[str, int], stage: Stage | None) -> None:
    assert _stage(days, replace(STREAK, **changes)) == stage


def test_never_is_never() -> None:
    assert _stage(10_000, policy=DisablingPolicy(0)) is None


@given(
    st.floats(0, 20),
    st.integers(1, 50),
    st.sampled_from(Stage),
    st.integers(0, 50),
)
def test_a_stage_is_never_behind_and_never_comes_without_a_further_failure(
    days: float, failed: int, stage: Stage, told: int
) -> None:
    reached = _stage(days, replace(STREAK, attempts_failed=failed, stage=stage, attempts_told=told))
    if reached is not None:
        assert reached > stage
        assert failed > told
        assert reached is not Stage.DISABLED or (failed >= ATTEMPTS_MIN and days >= DAYS)


def test_what_is_said_of_each_stage() -> None:
    told = []
    for days in (2.5, 4.5, 5):
        reached = POLICY.judge(STREAK, START + timedelta(days=days))
        assert reached is not None
        assert reached.event is not None
        Draft202012Validator(envelope_schema(reached.event.type)).validate(json.loads(reached.event.body))
        assert parse_event(reached.event.body, reached.event.occurred_at) == reached.event
        told.append(json.loads(reached.event.body))
    assert [each["type"] for each in told] == ["endpoint.failing", "endpoint.failing", "endpoint.disabled"]
    first, second, last = (each["data"] for each in told)
    assert {each["failing_since"] for each in (first, second, last)} == {"2026-11-20T18:00:00.000000Z"}
    assert (first["ratio"], second["ratio"]) == (0.5, 0.9)
    assert {each["disabled_at"] for each in (first, second, last)} == {"2026-11-25T18:00:00.000000Z"}
    assert len({each["id"] for each in told}) == 3


def test_a_warning_that_comes_late_does_not_announce_the_past() -> None:
    reached = POLICY.judge(replace(STREAK, attempts_failed=3), START + timedelta(days=7))
    assert reached is not None
    assert reached.event is not None
    assert json.loads(reached.event.body)["data"]["disabled_at"] == "2026-11-27T18:00:00.000000Z"


def test_a_recovery_is_told_once_for_each_streak() -> None:
    disabled = replace(STREAK, stage=Stage.DISABLED)
    told = [recovery(each, START + timedelta(days=6)).event for each in (disabled, disabled)]
    assert told[0] == told[1]
    assert told[0] is not None
    assert json.loads(told[0].body)["data"] == {
        "endpoint": {"id": "ep_1"},
        "failing_since": "2026-11-20T18:00:00.000000Z",
        "was_disabled": True,
    }
    other = recovery(replace(disabled, failing_since=START + timedelta(hours=1)), START).event
    assert other is not None
    assert other.id != told[0].id


@pytest.mark.parametrize(
    ("patterns", "is_told"),
    [
        (("message.sent",), True),
        (("*",), True),
        (("endpoint.*", "message.*"), True),
        (("endpoint.*", "delivery.dead"), False),
        ((), False),
    ],
)
def test_of_an_endpoint_that_gets_operational_events_only_nothing_is_said(
    patterns: tuple[str, ...],
    is_told: bool,  # noqa: FBT001
) -> None:
    streak = replace(STREAK, patterns=patterns)
    reached = POLICY.judge(streak, START + timedelta(days=5))
    assert reached is not None
    assert (reached.event is not None, recovery(streak, START).event is not None) == (is_told, is_told)
