"""Sample events, like those of a real producer, for ``trigger``, the demo and the benchmark."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from service.core.events.data import Data
from service.core.events.registry import REGISTRY
from service.core.events.types.operational import OPERATIONAL, OperationalData
from service.core.timestamp import format_timestamp

_NAMES: Final = ("Ben", "Amara", "Chen", "Dolores", "Émile", "Fatima")
_TEXTS: Final = (
    "Polls close at 7pm https://go.example/a1",
    "Your table for two is booked for Friday, 19:30.",
    "Reminder: the meeting starts in 15 minutes 📣",
)


def sample_event(
    event_type: str,
    organization_id: str,
    *,
    event_id: str,
    number: int,
    now: datetime,
    is_test: bool = False,
    data: str | None = None,
) -> bytes:
    """A sample envelope. ``data`` is the sample of an own type, as JSON; without it, a generic one is made.

    Events with the same ``number`` are about the same message.
    """
    envelope = {
        "id": event_id,
        "type": event_type,
        "timestamp": format_timestamp(now),
        "organization_id": organization_id,
        "test": is_test,
        "data": _data(event_type, number, now) if data is None else msgspec.Raw(data.encode()),
    }
    return msgspec.json.encode(envelope)


def _data(event_type: str, number: int, now: datetime) -> dict[str, Any] | OperationalData:
    if event_type in OPERATIONAL:
        return OPERATIONAL[event_type].sample(number, format_timestamp(now))
    contact_urn = f"tel:+1206555{number % 10_000:04}"
    name = _NAMES[number % len(_NAMES)]
    data: dict[str, Any] = {
        "message": _message(number, _party(contact_urn, name), now),
        "contact": {"id": f"ct_{number:08x}", "urn": contact_urn, "name": name},
        "channel": {"id": "pn_f49d3dd6", "name": "Line 1", "address": "+12065550100"},
        "chat": {
            "id": f"chat_{number}",
            "type": "direct",
            "name": None,
            "participants": [{"urn": contact_urn, "name": name}],
        },
        "scope": {"brand_id": "brand_2", "campaign_id": "camp_01HX", "project_id": "proj_77"},
    }
    unknown = {name: None for name in Data.__struct_fields__ if name not in data}
    kind = REGISTRY.get(event_type)
    changes = kind.sample(data["message"], number, format_timestamp(now)) if kind is not None else {}
    return {**data, **unknown, **changes}


def _party(urn: str, name: str) -> dict[str, str]:
    return {"urn": urn, "address": urn.removeprefix("tel:"), "name": name}


def _message(number: int, to: dict[str, str], now: datetime) -> dict[str, Any]:
    return {
        "id": f"msg_{number:08x}",
        "external_id": f"sample-{number}",
        "direction": "outbound",
        "status": "sent",
        "protocol": ("sms", "imessage", "whatsapp")[number % 3],
        "text": _TEXTS[number % len(_TEXTS)],
        "attachments": [],
        "effect": None,
        "segments": 1,
        "from": _party("tel:+12065550100", "Campaign line"),
        "to": to,
        "submitted_at": format_timestamp(now - timedelta(milliseconds=220)),
        "sent_at": format_timestamp(now),
        "delivered_at": None,
        "read_at": None,
        "failed_at": None,
        "received_at": None,
        "reactions": [],
        "metadata": {"crm_id": f"A-{number}"},
    }
