"""A delivery's request as a command that sends it once more by hand."""

import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.headers import MASK, event_headers

BODY_CHARACTERS_MAX: Final = 16_384
"""A longer body is fetched into a file first: a shell takes no line of any length."""
_FILE: Final = "event.json"


def as_curl(
    delivery: Mapping[str, Any], attempt: Mapping[str, Any] | None, endpoint: Mapping[str, Any] | None, body: str | None
) -> str | None:
    """The request of ``attempt``, or of the first one if none was made; None if nothing is left to repeat it with.

    The URL is the endpoint's, as whoever looks may see it. What is masked is left to whoever runs the command.
    """
    if body is None or (attempt is None and endpoint is None):
        return None
    url = endpoint["url"] if endpoint is not None else attempt["request"]["url"] if attempt is not None else ""
    headers = attempt["request"]["headers"] if attempt is not None else _headers_to_come(delivery)
    is_short = len(body) <= BODY_CHARACTERS_MAX
    sent = f"--data-raw {shlex.quote(body)}" if is_short else f"--data-binary @{_FILE}"
    lines = [f"curl -i -X POST {shlex.quote(url)}"]
    lines += [f"  -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    command = " \\\n".join([*lines, f"  {sent}"])
    if not is_short:
        command = f"{_fetched(delivery['event_id'])}\n{command}"
    if MASK in f"{url}{list(headers.values())}":
        command += f"\n# put your own values in the places of {MASK}"
    return command


def _headers_to_come(delivery: Mapping[str, Any]) -> Mapping[str, str]:
    key = DeliveryKey.parse(delivery["id"])
    return event_headers(key, delivery["event_id"], delivery["event_type"], 1) if key is not None else {}


def _fetched(event_id: str) -> str:
    path = f"/v1/events/{quote(event_id, safe='')}/body"
    return f'curl -sS "$API_URL{path}" -H "Authorization: Bearer $API_KEY" -o {_FILE}'
