"""Retention: days are made ahead and dropped as a whole, and what is still open in them ends first."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Expired(Struct, frozen=True, gc=False):
    """So many deliveries to an endpoint ended as dead, ``past_retention``: their events are about to be deleted."""

    organization_id: str
    endpoint_id: str
    delivery_count: int


class Ageing(Struct, frozen=True, gc=False):
    """An endpoint with open deliveries that will end as ``past_retention`` unless they go out soon.

    ``gates`` are the kinds of its gates that are shut; ``oldest_age_days`` is the age of its oldest such event.
    """

    organization_id: str
    endpoint_id: str
    delivery_count: int
    oldest_age_days: float
    gates: tuple[str, ...] = ()


class Ages(Struct, frozen=True, gc=False):
    """How near open deliveries are to the end of retention, of ``retention_days``.

    ``ageing`` are the endpoints past ``AGEING_RATIO`` of it, the oldest first, at most ``AGEING_MAX``.
    """

    retention_days: int
    oldest_age_days: float = 0.0
    ageing: tuple[Ageing, ...] = ()

    @property
    def ratio(self) -> float:
        """The age of the oldest open delivery's event, as a fraction of the retention: at 1 its deliveries end."""
        return self.oldest_age_days / self.retention_days


AGEING_RATIO = 0.8
AGEING_MAX = 20


class RetentionStore(Protocol):
    """The days of events, deliveries and attempts, by the database's clock. Safe to run concurrently.

    Every verb may raise ``UnavailableError``.
    """

    async def make_days(self) -> int:
        """Make the days ahead that are missing; returns how many days after today are there."""

    async def expire(self, limit: int) -> Sequence[Expired]:
        """End at most ``limit`` deliveries of a day that is dropped within a day; empty when there are none.

        One transaction: a delivery is open or dead, whenever the process dies. Replays of such a day, made to use its
        last day, end only when it is dropped. Leased deliveries are left to whoever holds them.
        """

    async def drop_days(self) -> int:
        """Drop the days past retention; returns how many are left for later, as they are in use or hold open ones."""

    async def purge(self) -> None:
        """Delete what else is over, in small batches.

        Keys and counts of dropped events, answered requests, gates, places, and entries of the audit log, which has an
        age of its own.
        """

    async def vacuum(self) -> Sequence[str]:
        """Vacuum the tables that churn and hold many dead rows; returns which. No more often than is of use."""

    async def ages(self) -> Ages:
        """How near open deliveries are to the end of retention."""
