"""One try to keep the promise: what was seen, as it is recorded. Append-only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.core.reason import Reason


class OutcomeKind(StrEnum):
    """Our reading of the reply."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the attempts table.

    ``status`` is None unless a whole status line arrived. ``reply`` is the start of the reply's body as text;
    ``detail`` explains a failure to the people who read the table. ``is_counted`` is False when the fault was ours.
    """

    number: int
    claim_number: int
    started_at: datetime
    duration_ms: int
    outcome: OutcomeKind
    reason: Reason | None = None
    status: int | None = None
    reply: str = ""
    detail: str = ""
    is_counted: bool = True
