"""What was answered in a case, and whether that was what should have been."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.core.deliveries.outcome import Accepted, AnswerKind, Failed, classify, kind_of
from service.core.deliveries.request import Fault, Reply
from service.core.rehearsals.case import Case, Wanted


class Verdict(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request and its answer. ``is_fit``: it is what was wanted; ``is_ours``: the receiver has no part in it.

    ``asks_to_wait``: it says when to come again, as a 429 or 503 with Retry-After does.
    """

    event_id: str
    body_bytes: int
    wanted: Wanted
    answer: Reply | Fault
    is_accepted: bool
    is_fit: bool
    is_ours: bool
    asks_to_wait: bool

    @property
    def status(self) -> int | None:
        """The reply's status; None if there was no reply."""
        return self.answer.status if isinstance(self.answer, Reply) else None

    @property
    def kind(self) -> AnswerKind | None:
        """What the reply's status says; None if there was no reply."""
        return kind_of(self.answer.status) if isinstance(self.answer, Reply) else None

    @property
    def told(self) -> str:
        """The answer in a few words."""
        return str(self.answer.status) if isinstance(self.answer, Reply) else f"no answer ({self.answer.detail})"


def sent(case: Case, number: int, event_id: str, body_bytes: int, answer: Reply | Fault, now: datetime) -> Sent:
    """What the answer to request ``number`` (from 0) of the case is worth."""
    wanted, outcome = case.wanted_of(number), classify(answer, now)
    is_accepted = isinstance(outcome, Accepted)
    is_refused = isinstance(answer, Reply) and kind_of(answer.status) in _REFUSALS
    is_fit = is_accepted if wanted is Wanted.ACCEPTED else is_refused
    failed = outcome if isinstance(outcome, Failed) else None
    is_ours, asks_to_wait = failed is not None and failed.is_ours, failed is not None and failed.gates_endpoint
    return Sent(event_id, body_bytes, wanted, answer, is_accepted, is_fit, is_ours, asks_to_wait)


_REFUSALS: Final = frozenset({AnswerKind.REFUSES, AnswerKind.MISSING})


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what was answered. ``why_not`` says why it was not tried to its end.

    ``is_unfit``: the case makes no sense for the endpoint's signature style.
    """

    case: Case
    sent: tuple[Sent, ...] = ()
    why_not: str = ""
    is_unfit: bool = False

    @property
    def verdict(self) -> Verdict:
        """How it ended."""
        if self.why_not:
            return Verdict.NOT_RUN
        return Verdict.PASSED if all(each.is_fit for each in self.sent) else Verdict.FAILED
