"""Events about tracked links."""

from collections.abc import Mapping
from typing import Any, Final

from service.core.events.event_type import EventType, Family, Proof


def _clicked(_: Mapping[str, Any], number: int, at: str) -> Mapping[str, Any]:
    return {
        "link": {
            "id": f"lnk_{number:08x}",
            "url": "https://www.example.org/vote?utm_source=sms",
            "short_url": "https://go.example/a1",
            "domain": "go.example",
        },
        "click": {
            "id": f"clk_{number:08x}",
            "clicked_at": at,
            "ip": "198.51.100.7",
            "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)",
            "is_bot": False,
            "count": 1,
        },
    }


LINK: Final = Family(
    "link.clicked",
    (
        EventType(
            "link.clicked",
            "A recipient clicked a tracked link.",
            required=("message.id", "link.url", "click.id", "click.clicked_at"),
            sample=_clicked,
            proves=Proof.CLICKED,
        ),
    ),
)
