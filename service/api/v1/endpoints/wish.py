"""From a request's body to a wish: what the models cannot read is reported along with what the core refuses."""

from typing import Final

from pydantic import BaseModel

from service.api.validation import problems_of, read_object
from service.core.endpoints.settings import EndpointWish

# Their engine comes with a later release. Until then nobody shall believe that they hold.
_NOT_SUPPORTED: Final = ("rate_limit_per_second", "max_in_flight")


def read_wish(model: type[BaseModel], body: bytes) -> EndpointWish:
    """What the body asks for. Raises ``ApiError`` (400) for what is no JSON object."""
    value = read_object(body)
    unreadable = dict(problems_of(model, value))
    unreadable |= {name: ["is not supported by this release"] for name in _NOT_SUPPORTED if name in unreadable}
    broken = {path.partition(".")[0].partition("[")[0] for path in unreadable}
    return EndpointWish({name: each for name, each in value.items() if name not in broken}, unreadable)
