"""Remember which signed requests were already accepted."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Callable, Protocol


class ReplayStore(Protocol):
    """A memory that outlives a request. Share it between all processes that serve an endpoint."""

    def seen(self, id: str, ttl: int, /) -> bool:  # noqa: A002 - positional; name it as you like
        """Remember ``id`` for at least ``ttl`` seconds; return whether it was remembered already.

        Both must happen in one atomic step; otherwise two copies that arrive together both count as new.
        """
        ...


class MemoryReplayStore:
    """A ReplayStore for one process, safe between threads.

    Bounded: when full, it forgets the id that was seen longest ago, so ``entries_max`` should exceed the number of
    webhooks that arrive within twice the tolerance. ``now`` returns seconds from any fixed point.
    """

    def __init__(self, entries_max: int = 100_000, *, now: Callable[[], float] = time.monotonic) -> None:
        if entries_max < 1:
            raise ValueError(f"entries_max must be at least 1, not {entries_max}")
        self._entries_max = entries_max
        self._now = now
        self._expires_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def seen(self, id: str, ttl: int, /) -> bool:  # noqa: A002 - as in the protocol
        """Remember ``id`` for ``ttl`` seconds; return whether it was remembered already."""
        with self._lock:
            now = self._now()
            expires_at = self._expires_at.pop(id, now)
            is_known = expires_at > now
            self._expires_at[id] = expires_at if is_known else now + ttl
            if len(self._expires_at) > self._entries_max:
                self._expires_at.popitem(last=False)
            return is_known
