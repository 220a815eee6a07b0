"""What keeps a delivery back on pages: a shut gate of its endpoint."""

from collections.abc import Mapping
from typing import Any

from service.core.endpoints.gates.gate import Gate, keeping_back
from service.web.words import instant


def keeper_of(delivery: Mapping[str, Any], endpoint: Mapping[str, Any] | None) -> Gate | None:
    """The gate behind which a delivery waits; None if it goes when it is due, or its endpoint is not known."""
    if endpoint is None or delivery["state"] != "pending":
        return None
    gates = [
        Gate(each["kind"], until=instant(each["until"]) if each["until"] else None, detail=each["reason"])
        for each in endpoint["gates"]
    ]
    due_at = delivery["next_attempt_at"]
    return keeping_back(gates, instant(due_at) if due_at else None)
