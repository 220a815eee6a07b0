"""Room in memory: bounded for the process, and nobody takes all of it."""

from collections import Counter


class Room:
    """Counts bytes by holder. A holder may have as much as is left, so that others always find some."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: Counter[str] = Counter()

    def take(self, holder: str, count: int) -> bool:
        """Take so many bytes, unless the holder would have more than is left for all."""
        mine = self._held.get(holder, 0) + count
        if mine > self._bytes_max - self._held.total() - count:
            return False
        self._held[holder] = mine
        return True

    def give_back(self, holder: str, count: int) -> None:
        """Give so many bytes back."""
        self._held[holder] -= count
        if not self._held[holder]:
            del self._held[holder]  # the counter has an entry only for those who hold something
