"""Convert a request body to a wish; the models' errors are reported together with the core's refusals."""

from typing import Final

from pydantic import BaseModel

from service.api.validation import problems_of, read_object
from service.core.endpoints.settings import EndpointWish

# Planned for a later release; refused until then, so that nobody relies on them.
_NOT_SUPPORTED: Final = ("rate_limit_per_second", "max_in_flight")


def read_wish(model: type[BaseModel], body: bytes) -> EndpointWish:
    """Parse the body. Raises ``ApiError`` (400) if it is not a JSON object."""
    value = read_object(body)
    unreadable = dict(problems_of(model, value))
    unreadable |= {name: ["is not supported by this release"] for name in _NOT_SUPPORTED if name in unreadable}
    broken = {path.partition(".")[0].partition("[")[0] for path in unreadable}
    return EndpointWish({name: each for name, each in value.items() if name not in broken}, unreadable)
