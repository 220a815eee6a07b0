"""What a page says, once, after a form has changed something."""

from enum import Enum
from typing import Final

PARAMETER: Final = "done"


class Done(Enum):
    """The sentences. A URL has only the name of one, so that no link makes a page say anything else."""

    ENDPOINT_CHANGED = "Changes saved. They hold from the next event on."
    ENDPOINT_PAUSED = "Paused. Deliveries wait until you resume it."
    ENDPOINT_RESUMED = "Resumed. What waited is sent now."
    ENDPOINT_REMOVED = "Endpoint removed"
    OVERLAP_ENDED = "The old secret has ended: only the newest signs."
    KEY_REVOKED = "Key revoked. Every request with it is refused from now on."
    REPLAYED = "Replayed: this is the new delivery"
    REPLAY_STARTED = "The replay has begun: this is how far it is"
    REPLAY_PAUSED = "Paused. What is made already is still delivered."
    REPLAY_RESUMED = "Resumed"
    REPLAY_CANCELLED = "Cancelled. What is made already is still delivered."
    MESSAGE_PUBLISHED = "Published again. It is in the intake queue now."
    MESSAGE_DISCARDED = "Discarded"
    RECOVERY_STARTED = "The replay has begun"

    @property
    def code(self) -> str:
        """Its name in a URL."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def coded(cls, code: str) -> "Done | None":
        """The one with this name in a URL; None if there is none."""
        return cls.__members__.get(code.upper().replace("-", "_"))
