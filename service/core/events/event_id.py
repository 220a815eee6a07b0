"""The id of an event that its producer left to the Idempotency-Key of the request."""

import hashlib
from typing import Final

_DIGITS: Final = 32  # hexadecimal, so 128 bits


def event_id_of(organization_id: str, idempotency_key: str, index: int) -> str:
    """The id of the event at ``index`` of a request with this key: the same whenever the request is sent again.

    So the event is known by its id however long ago the request was answered.
    """
    digest = hashlib.sha256(f"{organization_id}\n{idempotency_key}\n{index}".encode())  # neither may contain a newline
    return f"evt_{digest.hexdigest()[:_DIGITS]}"
