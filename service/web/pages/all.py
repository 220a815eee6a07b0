"""Every page."""

from collections.abc import Sequence

from service.web.page import Page
from service.web.pages.deliveries.all import delivery_pages
from service.web.pages.endpoints.all import endpoint_pages
from service.web.pages.events import event_pages
from service.web.pages.keys import key_pages
from service.web.pages.overview import overview_pages
from service.web.pages.parked import ParkedPages
from service.web.pages.replays import replay_pages
from service.web.pages.service import OperatorDesks, ServicePages
from service.web.pages.types import type_pages


def all_pages(desks: OperatorDesks) -> Sequence[Page]:
    """Every page of the organization's and of the service's; the latter are about more than an operation is."""
    return (
        *organization_pages(),
        *ServicePages(desks.oversight, desks.broker).pages(),
        *ParkedPages(desks.parked).pages(),
    )


def organization_pages() -> Sequence[Page]:
    """Every page that is of one organization."""
    return (
        *overview_pages(),
        *endpoint_pages(),
        *delivery_pages(),
        *event_pages(),
        *replay_pages(),
        *type_pages(),
        *key_pages(),
    )
