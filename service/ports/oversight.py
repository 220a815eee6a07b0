"""What operators ask of the whole service. Nothing here is for an organization's own eyes."""

from collections.abc import Sequence
from typing import Protocol

from service.core.oversight import BrokerState, OrganizationRow, OrganizationsWanted, OrganizationTraffic, Oversight


class BrokerDesk(Protocol):
    """The broker's own state."""

    async def state(self) -> BrokerState:
        """How full its queues are, and whether somebody reads them. Never raises: what is wrong is in the answer."""


class OversightDesk(Protocol):
    """The service as its database knows it. Every verb may raise ``UnavailableError``."""

    async def look(self) -> Oversight:
        """The service now, without the broker."""

    async def traffic(self) -> Sequence[OrganizationTraffic]:
        """The organizations with the most traffic, the busiest first."""

    async def organizations(self, wanted: OrganizationsWanted) -> Sequence[OrganizationRow]:
        """Organizations, by id."""
