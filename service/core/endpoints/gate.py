"""Gates: why an endpoint may not be attempted now. Its deliveries wait, and use no attempts."""

from enum import StrEnum


class GateKind(StrEnum):
    """What shut the gate; an endpoint has at most one of each kind. The table's CHECK lists the same."""

    PAUSED = "paused"  # by a person, until a person resumes it
    RETRY_AFTER = "retry_after"  # by the receiver, for as long as it asked
