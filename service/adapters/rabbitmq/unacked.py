"""Which messages of a channel the broker still waits for an answer to."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Unacked:
    """Delivery tags, in the order of delivery. Those withheld are left out of every ack until they are settled."""

    _tags: dict[int, None] = field(default_factory=dict)
    _withheld: set[int] = field(default_factory=set)

    def add(self, tag: int) -> None:
        """Note a delivery."""
        self._tags[tag] = None

    def is_free(self, tag: int) -> bool:
        """Whether the message is neither settled nor withheld."""
        return tag in self._tags and tag not in self._withheld

    def withhold(self, tag: int) -> None:
        """Leave this message out of acks: it is being parked."""
        self._withheld.add(tag)

    def settle(self, tag: int) -> bool:
        """Note that one message is being answered by itself; returns False if it was already."""
        self._withheld.discard(tag)
        return self._tags.pop(tag, 0) is None

    def settle_all(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Settle these messages, in their order, but for those that are withheld or settled already.

        Returns the acks to send: delivery tags, and whether each covers all before it, too.
        """
        free = [tag for tag in tags if self.is_free(tag)]
        for tag in free:
            del self._tags[tag]
        first_left = next(iter(self._tags), None)
        together = [tag for tag in free if first_left is None or tag < first_left]
        alone = free[len(together) :]
        return [*((tag, True) for tag in together[-1:]), *((tag, False) for tag in alone)]
