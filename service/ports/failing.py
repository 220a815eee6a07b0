"""Endpoints that fail for days, as their organizations are told of them."""

from collections.abc import Sequence
from typing import Protocol

from service.core.endpoints.gates.failing import DisablingPolicy, Recovery, StageReached


class FailingStore(Protocol):
    """What was done about failing endpoints. Safe to run concurrently: each is judged by one worker at a time.

    Each verb is one transaction, announcements included. Both may raise ``UnavailableError``.
    """

    async def judge(self, policy: DisablingPolicy, limit: int) -> Sequence[StageReached]:
        """Judge at most ``limit`` of the endpoints that come to a stage now; who is disabled gets a shut gate.

        Paused endpoints are not judged: nothing is sent to them.
        """

    async def end(self, limit: int) -> Sequence[Recovery]:
        """End at most ``limit`` streaks that were told of and are over. The gate of who was disabled opens."""
