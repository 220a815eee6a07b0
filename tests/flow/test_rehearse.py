"""A rehearsal on a scripted receiver and a clock that is set: what is sent, what is left out, and when it ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.core.deliveries.request import Fault, Reply, Request
from service.core.endpoints.endpoint import Endpoint, Secret
from service.core.reason import Reason
from service.core.rehearsals.case import AT_ONCE_MAX, CASES, CaseName
from service.core.rehearsals.findings import FindingCode
from service.core.rehearsals.report import Conclusion, Report
from service.core.rehearsals.result import Verdict
from service.core.rehearsals.shown import shown_report
from service.flow.rehearse import NO_TIME, NOTHING_ACCEPTED, REHEARSAL_SECONDS_MAX, rehearse
from tests.fakes.sender import Answer, ScriptedSender
from webhook_signature import VerificationError, Webhook
from webhook_signature.styles import STYLES

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
URL = "https://r.example/hook"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = STYLES["standard"].decode_secret(SECRET)
ENDPOINT = Endpoint("ep_1", "org_1", URL, (Secret(KEY),))


class Clock:
    """Stands still, but for what ``passes``."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def passes(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def right(clock: Clock, *, after_seconds: float = 0.0) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        clock.passes(after_seconds)
        duration_ms = int(after_seconds * 1000)
        try:
            Webhook(SECRET, now=lambda: clock.now().timestamp()).verify(request.body, request.headers)
        except VerificationError as error:
            return Reply(400, duration_ms, error.reason.encode())
        return Reply(204, duration_ms, is_kept_connection="Connection" not in request.headers)

    return answer


async def rehearsed(sender: ScriptedSender, clock: Clock, endpoint: Endpoint = ENDPOINT, at_once: int = 8) -> Report:
    report = await rehearse(endpoint, "message.sent", sender, clock, lambda count: b"r" * count, at_once)
    assert isinstance(report, Report)
    return report


async def test_a_right_receiver_passes() -> None:
    clock = Clock()
    sender = ScriptedSender(right(clock))
    report = await rehearsed(sender, clock)
    assert (report.conclusion, report.findings, report.sentence) == (Conclusion.PASSED, (), "14 of 14 cases passed")
    assert all(each.url == URL and each.endpoint_id == "ep_1" for each in sender.requests)


async def test_in_the_midst_of_rotations_a_receiver_may_know_the_oldest_secret_only() -> None:
    clock = Clock()
    newer = (Secret(b"a" * 24), Secret(b"b" * 24))
    report = await rehearsed(ScriptedSender(right(clock)), clock, replace(ENDPOINT, secrets=newer + ENDPOINT.secrets))
    assert (report.conclusion, report.findings) == (Conclusion.PASSED, ())


async def test_an_endpoint_is_sent_what_it_asks_for_and_no_more_at_once() -> None:
    clock = Clock()
    sender = ScriptedSender(right(clock))
    endpoint = replace(ENDPOINT, headers={"X-Pass": "p", "user-agent": "own"}, timeout_seconds=3.0)
    report = await rehearsed(sender, clock, endpoint, at_once=2)
    assert {each.headers["X-Pass"] for each in sender.requests} == {"p"}
    assert all("user-agent" not in each.headers for each in sender.requests)
    assert {each.timeout_seconds for each in sender.requests} == {3.0}
    (together,) = [each for each in report.results if each.case.name is CaseName.AT_ONCE]
    assert len(together.sent) == 2 < AT_ONCE_MAX


async def test_a_receiver_that_is_slow_has_so_much_time_in_all() -> None:
    clock = Clock()
    sender = ScriptedSender(right(clock, after_seconds=6.0))
    report = await rehearsed(sender, clock)
    assert len(sender.requests) == 5  # begun at 0, 6, 12, 18 and 24 seconds
    assert [each.limit_seconds for each in sender.requests] == [25.0, 19.0, 13.0, 7.0, 1.0]
    assert all(each.timeout_seconds <= each.limit_seconds <= REHEARSAL_SECONDS_MAX for each in sender.requests)
    assert {each.why_not for each in report.results[4:]} == {NO_TIME}
    assert report.conclusion is Conclusion.INCOMPLETE
    assert [each.code for each in report.findings] == [FindingCode.SLOW_ANSWERS]
    assert report.findings[0].sentence == "needs 6.0 s to answer an event"
    assert report.sentence == "4 of 4 cases passed, 10 not tried"


@pytest.mark.parametrize(
    ("answer", "tries", "code"),
    [
        (Fault(Reason.TIMEOUT, 1, "no reply within the timeout"), 1, FindingCode.UNREACHABLE),
        (Fault(Reason.BLOCKED_DESTINATION, 1, "this address is not allowed"), 1, FindingCode.UNREACHABLE),
        (Reply(404, 1), 3, FindingCode.WRONG_PATH),
        (Reply(401, 1), 3, FindingCode.VALID_REFUSED),
        (Reply(410, 1), 3, FindingCode.VALID_REFUSED),
        (Reply(99, 1), 3, FindingCode.CRASHES),
        (Reply(302, 1), 3, FindingCode.REDIRECTS),
        (Reply(503, 1), 3, FindingCode.CRASHES),
    ],
)
async def test_where_no_valid_event_is_accepted_the_rest_is_left_out(
    answer: Answer, tries: int, code: FindingCode
) -> None:
    sender = ScriptedSender(answer)
    report = await rehearsed(sender, Clock())
    assert len(sender.requests) == tries
    assert [each.code for each in report.findings] == [code]
    assert {each.why_not for each in report.results[2:]} == {NOTHING_ACCEPTED}
    assert report.conclusion is Conclusion.FAILED


async def test_a_fault_of_our_own_is_not_the_receivers() -> None:
    sender = ScriptedSender(Fault(Reason.EGRESS_PROXY, 1, "the egress proxy could not be reached"))
    report = await rehearsed(sender, Clock())
    assert (report.conclusion, report.findings) == (Conclusion.INCOMPLETE, ())
    assert report.results[0].verdict is Verdict.NOT_RUN
    assert "egress proxy" in report.results[0].why_not


async def test_nothing_is_sent_without_its_secrets_or_settings() -> None:
    sender, clock = ScriptedSender(), Clock()
    for endpoint in (replace(ENDPOINT, secrets=(Secret(None),)), replace(ENDPOINT, problem="its headers are gone")):
        told = await rehearse(endpoint, "message.sent", sender, clock, lambda count: b"r" * count)
        assert isinstance(told, str)
    assert sender.requests == []


async def test_a_report_is_shown_whole() -> None:
    clock = Clock()
    sender = ScriptedSender(lambda _: Reply(200, 1, b"\xff\0" + b"x" * 1_000))
    shown = shown_report(await rehearsed(sender, clock))
    assert [each["case"] for each in shown["cases"]] == [each.name for each in CASES]
    (first,) = shown["cases"][0]["requests"]
    assert first["text"] == "��" + "x" * 298
    assert {each["code"] for each in shown["findings"]} == {"signature_not_checked", "closes_connections"}
    assert all(each["remedy"] for each in shown["findings"])
