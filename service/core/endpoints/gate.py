"""Gates: why an endpoint may not be attempted now. Its deliveries wait without using up attempts."""

from enum import StrEnum


class GateKind(StrEnum):
    """What shut the gate; an endpoint has at most one of each kind. The table's CHECK lists the same."""

    PAUSED = "paused"  # a person paused it, until a person resumes it
    RETRY_AFTER = "retry_after"  # the receiver asked for a pause, for that long
