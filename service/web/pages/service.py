"""What the operator sees of the service: who works, what waits and why, and every organization."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from service.core.oversight import BrokerState, OrganizationsWanted, OrganizationTraffic, Oversight, concerns, verdict
from service.ports.oversight import BrokerDesk, OversightDesk
from service.ports.parked import ParkedDesk
from service.web.page import Moved, Page, Result, Shown, Visit
from service.web.together import together
from service.web.words import counted

ORGANIZATIONS_SHOWN: Final = 50
_PAGES: Final = {
    "workers": "/service",
    "broker": "/service",
    "backlog": "/service",
    "gates": "/service/organizations",
    "parked": "/service/parked",
}


@dataclass(frozen=True, slots=True)
class OperatorDesks:
    """What the operator's pages read; without a broker the last two are None."""

    oversight: OversightDesk
    broker: BrokerDesk | None = None
    parked: ParkedDesk | None = None


class ServicePages:
    """The service, and the list of organizations."""

    def __init__(self, oversight: OversightDesk, broker: BrokerDesk | None) -> None:
        self._oversight = oversight
        self._broker = broker

    async def show_service(self, _: Visit) -> Result:
        """The service now, and what to look at first."""
        seen, traffic, broker = await together(self._oversight.look(), self._oversight.traffic(), self._state())
        seen = replace(seen, broker=broker)
        context = {
            "seen": seen,
            "concerns": concerns(seen),
            "pages": _PAGES,
            "workers": [each for each in seen.processes if each.delivers],
            "traffic": [(each, _line_of(each)) for each in traffic],
        }
        return Shown("service.html", _title(seen), context)

    async def show_organizations(self, visit: Visit) -> Result:
        """Organizations by id, with what is wrong with their endpoints."""
        search, after = visit.query("q")[:64], visit.query("after")[:64]
        wanted = OrganizationsWanted(search, after, ORGANIZATIONS_SHOWN + 1)
        found = await self._oversight.organizations(wanted)
        shown = found[:ORGANIZATIONS_SHOWN]
        next_after = shown[-1].id if len(found) > len(shown) else ""
        title = counted(len(shown), "organization") if not (after or next_after) else "Organizations"
        context = {"organizations": shown, "search": search, "after": after, "next_after": next_after}
        return Shown("organizations.html", title, context)

    async def open_organization(self, visit: Visit) -> Result:
        """Go to an organization's pages."""
        return Moved(visit.service_url(f"/o/{quote(visit.query('organization'), safe='')}/overview"))

    def pages(self) -> Sequence[Page]:
        """The pages of the service."""
        return (
            Page("GET", "/service", self.show_service, section="service", is_of_service=True),
            Page("GET", "/service/organizations", self.show_organizations, section="organizations", is_of_service=True),
            Page("GET", "/service/open", self.open_organization, section="service", is_of_service=True),
        )

    async def _state(self) -> BrokerState | None:
        return None if self._broker is None else await self._broker.state()


def _title(seen: Oversight) -> str:
    found = concerns(seen)
    if not found:
        return verdict(seen)
    return found[0].sentence if len(found) == 1 else f"{len(found)} things need a look"


def _line_of(traffic: OrganizationTraffic) -> Mapping[str, Any]:
    """The traffic as a sparkline takes it: what is still open is in no count."""
    nothing = [0] * len(traffic.delivered)
    return {"delivered": traffic.delivered, "dead": traffic.dead, "waiting": nothing, "fresh": nothing}
