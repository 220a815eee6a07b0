"""A rehearsal that has ended, and what it came to."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.core.rehearsals.findings import Finding, Level, findings_of
from service.core.rehearsals.result import CaseResult, Verdict
from service.core.wording import count_of


class Conclusion(StrEnum):
    """What a rehearsal came to."""

    PASSED = "passed"
    ADVISED = "advised"  # passed, with findings that only advise
    INCOMPLETE = "incomplete"  # some case could not be tried, and nothing is known to be wrong
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """A rehearsal that has ended: the result of every case."""

    url: str
    event_type: str
    began_at: datetime
    duration_ms: int
    results: tuple[CaseResult, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The mistakes, those that matter most first."""
        return findings_of({each.case.name: each for each in self.results if not each.why_not})

    @property
    def conclusion(self) -> Conclusion:
        """What it came to."""
        levels = {each.level for each in self.findings}
        if Level.MUST in levels:
            return Conclusion.FAILED
        if any(each.why_not and not each.is_unfit for each in self.results):
            return Conclusion.INCOMPLETE
        return Conclusion.ADVISED if levels else Conclusion.PASSED

    @property
    def sentence(self) -> str:
        """How many cases passed, and how many were not tried."""
        tried = [each for each in self.results if not each.why_not]
        passed = sum(each.verdict is Verdict.PASSED for each in tried)
        untried = len(self.results) - len(tried)
        told = f"{passed} of {count_of(len(tried), 'case')} passed"
        return f"{told}, {untried} not tried" if untried else told
