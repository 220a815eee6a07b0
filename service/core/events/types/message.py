"""Events about a message, from the platform accepting it to the contact replying."""

from collections.abc import Mapping
from typing import Any, Final

from service.core.events.event_type import EventType, Family, Proof

_REPLIES: Final = ("Yes, I'll be there", "STOP", "Who is this?", "Thanks! 🙏")
_FAILURES: Final = (
    {"code": "unreachable", "message": "The handset is not reachable", "carrier_code": "30003", "retryable": True},
    {"code": "blocked", "message": "The carrier filtered the message", "carrier_code": "30007", "retryable": False},
)


def _sent(_: Mapping[str, Any], __: int, ___: str) -> Mapping[str, Any]:
    return {}


def _delivered(sent: Mapping[str, Any], _: int, at: str) -> Mapping[str, Any]:
    return {"message": {**sent, "status": "delivered", "delivered_at": at}}


def _failed(sent: Mapping[str, Any], number: int, at: str) -> Mapping[str, Any]:
    return {
        "message": {**sent, "status": "failed", "sent_at": None, "failed_at": at},
        "error": _FAILURES[number % len(_FAILURES)],
    }


def _replied(sent: Mapping[str, Any], number: int, at: str) -> Mapping[str, Any]:
    reply = {
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
    return {
        "message": {**sent, **reply},
        "reply_to": {"message_id": sent["id"], "guid": None, "part_index": None, "unresolved": False},
    }


MESSAGE: Final = Family(
    "message.*",
    (
        EventType(
            "message.sent",
            "The carrier or the platform accepted a message.",
            required=("message.id", "message.to.urn", "message.sent_at"),
            values={"message.direction": ("outbound",), "message.status": ("sent",)},
            sample=_sent,
            proves=Proof.SENT,
        ),
        EventType(
            "message.delivered",
            "A message was confirmed to be on the recipient's device.",
            required=("message.id", "message.to.urn", "message.delivered_at"),
            values={"message.status": ("delivered", "read")},
            sample=_delivered,
            proves=Proof.DELIVERED,
        ),
        EventType(
            "message.failed",
            "A message was rejected, or could not be delivered.",
            required=("message.id", "message.failed_at", "error.code", "error.message"),
            values={"message.status": ("failed",)},
            sample=_failed,
            proves=Proof.FAILED,
        ),
        EventType(
            "message.replied",
            "A contact sent a message.",
            required=("message.id", "message.from.urn", "message.received_at"),
            values={"message.direction": ("inbound",), "message.status": ("received",)},
            any_of=("message.text", "message.attachments", "message.reactions"),
            sample=_replied,
            proves=Proof.RECEIVED,
        ),
    ),
)
