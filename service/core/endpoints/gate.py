"""Gates: why an endpoint may not be attempted now."""

from enum import StrEnum


class GateKind(StrEnum):
    """The reasons; the CHECK of ``gates.kind``."""

    PAUSED = "paused"  # somebody paused it, until somebody resumes it
    RETRY_AFTER = "retry_after"  # its receiver asked for a pause
