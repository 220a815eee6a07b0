"""Sample events, such as a real producer sends, for ``trigger``, the demo and the benchmark."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from service.core.timestamp import format_timestamp

_NAMES: Final = ("Ben", "Amara", "Chen", "Dolores", "Émile", "Fatima")
_TEXTS: Final = (
    "Polls close at 7pm https://go.example/a1",
    "Your table for two is booked for Friday, 19:30.",
    "Reminder: the meeting starts in 15 minutes 📣",
)
_REPLIES: Final = ("Yes, I'll be there", "STOP", "Who is this?", "Thanks! 🙏")
_FAILURES: Final = (
    {"code": "unreachable", "message": "The handset is not reachable", "carrier_code": "30003", "retryable": True},
    {"code": "blocked", "message": "The carrier filtered the message", "carrier_code": "30007", "retryable": False},
)


def sample_event(
    event_type: str, organization_id: str, *, event_id: str, number: int, now: datetime, is_test: bool = False
) -> bytes:
    """An event's envelope. Events of one ``number`` tell of one message: sent, delivered, replied to, clicked."""
    envelope = {
        "id": event_id,
        "type": event_type,
        "timestamp": format_timestamp(now),
        "organization_id": organization_id,
        "test": is_test,
        "data": _data(event_type, number, now),
    }
    return msgspec.json.encode(envelope)


def _data(event_type: str, number: int, now: datetime) -> dict[str, Any]:
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
        "error": None,
        "reply_to": None,
        "link": None,
        "click": None,
    }
    changes = {
        "message.delivered": _delivered,
        "message.failed": _failed,
        "message.replied": _replied,
        "link.clicked": _clicked,
    }
    if event_type in changes:
        changes[event_type](data, number, format_timestamp(now))
    return data


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


def _delivered(data: dict[str, Any], _: int, at: str) -> None:
    data["message"] |= {"status": "delivered", "delivered_at": at}


def _failed(data: dict[str, Any], number: int, at: str) -> None:
    data["message"] |= {"status": "failed", "sent_at": None, "failed_at": at}
    data["error"] = _FAILURES[number % len(_FAILURES)]


def _replied(data: dict[str, Any], number: int, at: str) -> None:
    sent = data["message"]
    data["reply_to"] = {"message_id": sent["id"], "guid": None, "part_index": None, "unresolved": False}
    data["message"] = sent | {
        "id": f"msg_{number:08x}_reply",
        "external_id": f"sample-{number}-reply",
        "direction": "inbound",
        "status": "received",
        "text": _REPLIES[number % len(_REPLIES)],
        "from": sent["to"],
        "to": sent["from"],
        "submitted_at": None,
        "sent_at": None,
        "received_at": at,
        "metadata": {},
    }


def _clicked(data: dict[str, Any], number: int, at: str) -> None:
    data["link"] = {
        "id": f"lnk_{number:08x}",
        "url": "https://www.example.org/vote?utm_source=sms",
        "short_url": "https://go.example/a1",
        "domain": "go.example",
    }
    data["click"] = {
        "id": f"clk_{number:08x}",
        "clicked_at": at,
        "ip": "198.51.100.7",
        "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)",
        "is_bot": False,
        "count": 1,
    }
