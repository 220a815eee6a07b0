"""How much one organization may have, so that none fills the tables and the memory that all share."""

from dataclasses import dataclass
from typing import Literal

Capped = Literal["endpoints", "subscriptions", "event types", "secrets"]


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that an organization may have of each; 0: as many as it likes.

    Only what would add to them is refused: those who have more, because a cap was lowered, keep what they have.
    """

    endpoints_max: int = 0
    subscriptions_max: int = 0
    event_types_max: int = 0
    secrets_max: int = 0

    def of(self, what: Capped) -> int:
        """The cap of one kind."""
        match what:
            case "endpoints":
                return self.endpoints_max
            case "subscriptions":
                return self.subscriptions_max
            case "event types":
                return self.event_types_max
            case "secrets":
                return self.secrets_max


NO_CAPS = Caps()
