"""The pages of deliveries."""

from collections.abc import Sequence

from service.web.page import Page
from service.web.pages.deliveries.list import export_deliveries, show_chart, show_deliveries
from service.web.pages.deliveries.show import check_signature, replay, show_delivery


def delivery_pages() -> Sequence[Page]:
    """The pages of deliveries."""
    section = "deliveries"
    return (
        Page("GET", "/deliveries", show_deliveries, section),
        Page("GET", "/deliveries/export", export_deliveries, section),
        Page("GET", "/deliveries/chart", show_chart, section),
        Page("POST", "/deliveries/replay", replay, section),
        Page("GET", "/deliveries/{id}", show_delivery, section),
        Page("POST", "/deliveries/{id}/check", check_signature, section, scope="read"),
    )
