"""Findings: the mistakes that a receiver's answers show, each with what follows from it and what to do.

One mistake has one finding, however many cases it fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.core.deliveries.outcome import AnswerKind
from service.core.deliveries.request import Reply
from service.core.rehearsals.case import CaseName, Wanted
from service.core.rehearsals.result import CaseResult, Sent

SLOW_ANSWER_MS: Final = 2_000


class Level(StrEnum):
    """How much a finding matters: events are lost or forged, or it is advice."""

    MUST = "must"
    SHOULD = "should"


class FindingCode(StrEnum):
    """The mistakes that a rehearsal can name."""

    UNREACHABLE = "unreachable"
    VALID_REFUSED = "valid_refused"
    WRONG_PATH = "wrong_path"
    REDIRECTS = "redirects"
    CRASHES = "crashes"
    BODY_RESPELLED = "body_respelled"
    SIGNATURE_NOT_CHECKED = "signature_not_checked"
    UNSIGNED_ACCEPTED = "unsigned_accepted"
    TIME_NOT_CHECKED = "time_not_checked"
    REFUSES_WITH_410 = "refuses_with_410"
    REFUSES_ODDLY = "refuses_oddly"
    ONE_SIGNATURE_ONLY = "one_signature_only"
    DUPLICATE_REFUSED = "duplicate_refused"
    UNKNOWN_TYPE_REFUSED = "unknown_type_refused"
    LARGE_REFUSED = "large_refused"
    SLOW_REFUSED = "slow_refused"
    OVERWHELMED = "overwhelmed"
    ASKS_FOR_LESS = "asks_for_less"
    KEPT_CONNECTION_BROKEN = "kept_connection_broken"
    CLOSES_CONNECTIONS = "closes_connections"
    SLOW_ANSWERS = "slow_answers"


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake: what the receiver does, what to do about it, and the cases that show it."""

    code: FindingCode
    level: Level
    sentence: str
    remedy: str
    cases: tuple[CaseName, ...]


Results = Mapping[CaseName, CaseResult]
"""Of the cases that were tried to their end."""

_REMEDIES: Final = {
    FindingCode.UNREACHABLE: "Start the receiver, and check host, port and certificate in the URL.",
    FindingCode.VALID_REFUSED: "Check that it has this endpoint's secret, as it is with whsec_, and the same signature "
    "style, and that it verifies the raw body.",
    FindingCode.WRONG_PATH: "Check the path of the URL, and that the route takes POST.",
    FindingCode.REDIRECTS: "Redirects are not followed: register the URL that it leads to.",
    FindingCode.CRASHES: "Look into the receiver's log; the response's text is below, if there is one.",
    FindingCode.BODY_RESPELLED: "Verify the bytes of the body as they arrived, before anything parses them: JSON that "
    "was parsed and written again has other bytes.",
    FindingCode.SIGNATURE_NOT_CHECKED: "Anybody who knows the URL can send events. Verify the signature, and answer "
    "400 if it does not match.",
    FindingCode.UNSIGNED_ACCEPTED: "Whoever leaves the signature out gets through. Refuse a request without one.",
    FindingCode.TIME_NOT_CHECKED: "Whoever catches a request can send it again at any time. Refuse a timestamp more "
    "than five minutes away from your clock, in either direction.",
    FindingCode.REFUSES_WITH_410: "410 ends a subscription: a wrong secret after a rotation would unsubscribe you. "
    "Answer 400.",
    FindingCode.REFUSES_ODDLY: "Answer 400: a refusal should not look like a failure, to your monitoring either.",
    FindingCode.ONE_SIGNATURE_ONLY: "During a rotation webhooks have a signature for each secret. Split the header, "
    "and accept the request if any of them matches.",
    FindingCode.DUPLICATE_REFUSED: "What is not answered 2xx is sent again, until the delivery is given up. Answer 2xx "
    "to an event that you have.",
    FindingCode.UNKNOWN_TYPE_REFUSED: "A pattern such as message.* brings types that did not exist when you "
    "subscribed. Answer 2xx, and leave them aside.",
    FindingCode.LARGE_REFUSED: "Raise the limit of the body, in the framework and in the proxy before it.",
    FindingCode.SLOW_REFUSED: "Read the body until it has all its bytes (Content-Length), however they are split up.",
    FindingCode.OVERWHELMED: "Store the event, answer, and do the work afterwards; or set max_in_flight.",
    FindingCode.ASKS_FOR_LESS: "Set max_in_flight or rate_limit_per_second to what it can take.",
    FindingCode.KEPT_CONNECTION_BROKEN: "Read the whole body before answering, also when you refuse it, or close the "
    "connection with Connection: close.",
    FindingCode.CLOSES_CONNECTIONS: "Each event needs a new connection, with TLS some round trips more. Let the server "
    "keep connections alive for 15 seconds.",
    FindingCode.SLOW_ANSWERS: "Store the event, answer, and do the work afterwards.",
}


def findings_of(results: Results) -> tuple[Finding, ...]:
    """The mistakes that these results show; what matters most comes first."""
    start = [*_start(results)]
    found = [*start, *_forgeries(results), *_refusals(results), *_accepted(results), *_connections(results)]
    found += _slow(results)
    return tuple(sorted(found, key=lambda each: each.level is Level.SHOULD))


def _finding(code: FindingCode, sentence: str, *cases: CaseName, level: Level = Level.MUST) -> Finding:
    return Finding(code, level, sentence, _REMEDIES[code], cases)


def _start(results: Results) -> Iterator[Finding]:
    """Whether it takes valid events at all, however their JSON is spelled."""
    valid, spellings = _first(results, CaseName.VALID), _sent(results, CaseName.SPELLINGS)
    if valid is None:
        return
    others = [each.is_accepted for each in spellings]
    if (valid.is_accepted and not all(others)) or (not valid.is_accepted and any(others)):
        sentence = "accepts or refuses a valid event by the white space in its JSON"
        yield _finding(FindingCode.BODY_RESPELLED, sentence, CaseName.VALID, CaseName.SPELLINGS)
    elif not valid.is_accepted:
        code, sentence = _why_refused(valid)
        yield _finding(code, sentence, CaseName.VALID)


def _why_refused(valid: Sent) -> tuple[FindingCode, str]:
    if valid.kind is None:
        return FindingCode.UNREACHABLE, f"gives a valid event {valid.told}"
    return _WHY_REFUSED[valid.kind], f"answers a valid event with {valid.told}"


_WHY_REFUSED: Final = {
    AnswerKind.REFUSES: FindingCode.VALID_REFUSED,
    AnswerKind.GONE: FindingCode.VALID_REFUSED,
    AnswerKind.MISSING: FindingCode.WRONG_PATH,
    AnswerKind.REDIRECTS: FindingCode.REDIRECTS,
    AnswerKind.FAILS: FindingCode.CRASHES,
}


def _forgeries(results: Results) -> Iterator[Finding]:
    """What it accepts although it should not: the largest hole, not each case that goes through it."""
    forged = [CaseName.UNSIGNED, CaseName.WRONG_SECRET, CaseName.TAMPERED]
    accepted = [name for name in forged if _accepts(results, name)]
    off_time = [name for name in (CaseName.OLD, CaseName.FUTURE) if _accepts(results, name)]
    if {CaseName.WRONG_SECRET, CaseName.TAMPERED} & set(accepted):
        sentence = "accepts events whose signature does not match"
        yield _finding(FindingCode.SIGNATURE_NOT_CHECKED, sentence, *accepted, *off_time)
        return
    if CaseName.UNSIGNED in accepted:
        yield _finding(FindingCode.UNSIGNED_ACCEPTED, "accepts an event without a signature", CaseName.UNSIGNED)
    if off_time:
        when = " and ".join({CaseName.OLD: "an hour ago", CaseName.FUTURE: "an hour ahead"}[each] for each in off_time)
        level = Level.MUST if CaseName.OLD in off_time else Level.SHOULD
        yield _finding(FindingCode.TIME_NOT_CHECKED, f"accepts an event signed {when}", *off_time, level=level)


def _refusals(results: Results) -> Iterator[Finding]:
    """How it refuses what it should refuse."""
    odd: dict[FindingCode, list[tuple[CaseName, str]]] = {}
    for name, result in results.items():
        for each in result.sent:
            if each.wanted is Wanted.REFUSED and not each.is_fit and not each.is_accepted:
                is_gone = each.kind is AnswerKind.GONE
                code = FindingCode.REFUSES_WITH_410 if is_gone else FindingCode.REFUSES_ODDLY
                odd.setdefault(code, []).append((name, each.told))
    for code, shown in odd.items():
        told = " or ".join(dict.fromkeys(text for _, text in shown))
        level = Level.MUST if code is FindingCode.REFUSES_WITH_410 else Level.SHOULD
        cases = dict.fromkeys(name for name, _ in shown)
        yield _finding(code, f"refuses what is not Posthorn's with {told}", *cases, level=level)


_PLAIN: Final = {
    CaseName.SEVERAL_SIGNATURES: (FindingCode.ONE_SIGNATURE_ONLY, "a header with two signatures", Level.MUST),
    CaseName.DUPLICATE: (FindingCode.DUPLICATE_REFUSED, "an event that it has had before", Level.MUST),
    CaseName.UNKNOWN_TYPE: (FindingCode.UNKNOWN_TYPE_REFUSED, "a type that it does not know", Level.SHOULD),
    CaseName.LARGE: (FindingCode.LARGE_REFUSED, "the largest event", Level.MUST),
    CaseName.SLOW: (FindingCode.SLOW_REFUSED, "a body that comes in two parts", Level.MUST),
}
"""The cases that one request shows."""


def _accepted(results: Results) -> Iterator[Finding]:
    """What it should accept, and does not."""
    for name, (code, what, level) in _PLAIN.items():
        only = _first(results, name)
        if only is not None and not only.is_fit:
            yield _finding(code, f"answers {what} with {only.told}", name, level=level)
    together = _sent(results, CaseName.AT_ONCE)
    refused = [each for each in together if not each.is_fit]
    if refused:
        told = " or ".join(dict.fromkeys(each.told for each in refused))
        sentence = f"answers {len(refused)} of {len(together)} events that come at once with {told}"
        if all(each.asks_to_wait for each in refused):
            yield _finding(FindingCode.ASKS_FOR_LESS, sentence, CaseName.AT_ONCE, level=Level.SHOULD)
        else:
            yield _finding(FindingCode.OVERWHELMED, sentence, CaseName.AT_ONCE)


def _connections(results: Results) -> Iterator[Finding]:
    """What becomes of a connection after a refusal."""
    after = _sent(results, CaseName.KEPT_ALIVE)[1:]
    broken = next((each for each in after if not each.is_fit), None)
    if broken is not None:
        sentence = f"answers a valid event with {broken.told} after it refused one on the same connection"
        yield _finding(FindingCode.KEPT_CONNECTION_BROKEN, sentence, CaseName.KEPT_ALIVE)
    elif after and not any(isinstance(each.answer, Reply) and each.answer.is_kept_connection for each in after):
        sentence = "closes the connection after each answer"
        yield _finding(FindingCode.CLOSES_CONNECTIONS, sentence, CaseName.KEPT_ALIVE, level=Level.SHOULD)


def _slow(results: Results) -> Iterator[Finding]:
    """Whether a single event is answered late. The slow sender's own pause is not the receiver's."""
    alone = [CaseName.VALID, CaseName.SPELLINGS, CaseName.DUPLICATE, CaseName.UNKNOWN_TYPE]
    durations = {
        name: max((each.answer.duration_ms for each in _sent(results, name) if each.is_accepted), default=0)
        for name in alone
    }
    late = [name for name, duration_ms in durations.items() if duration_ms >= SLOW_ANSWER_MS]
    if late:
        sentence = f"needs {max(durations.values()) / 1000:.1f} s to answer an event"
        yield _finding(FindingCode.SLOW_ANSWERS, sentence, *late, level=Level.SHOULD)


def _sent(results: Results, name: CaseName) -> Sequence[Sent]:
    return results[name].sent if name in results else ()


def _first(results: Results, name: CaseName) -> Sent | None:
    return next(iter(_sent(results, name)), None)


def _accepts(results: Results, name: CaseName) -> bool:
    return any(each.is_accepted for each in _sent(results, name))
