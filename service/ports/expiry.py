"""Endpoints whose ``valid_until`` comes, as upkeep sees them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from service.core.endpoints.expiry import Expiry

Warned = tuple[datetime, str]
"""The ``valid_until`` and the id of the last endpoint that was warned of."""


class ExpiryStore(Protocol):
    """Endpoints that expire. Safe to run concurrently. Every verb may raise ``UnavailableError``."""

    async def over(self, limit: int, resting: Collection[str]) -> Mapping[str, Sequence[str]]:
        """At most ``limit`` endpoints whose ``valid_until`` has come, by organization; none of those ``resting``."""

    async def end(self, organization_id: str, endpoint_ids: Sequence[str]) -> Sequence[Expiry]:
        """End those of these endpoints that have expired, and cancel what is pending for them.

        One transaction, announcements included. Raises ``RefusedError``.
        """

    async def warn(self, after: Warned | None, limit: int) -> tuple[int, Warned]:
        """Announce at most ``limit`` of those that expire within ``WARN_BEFORE`` from now, each once.

        They are taken in order, from the one ``after`` (None: the first). Returns how many there were, and the
        ``after`` of the next call.
        """
