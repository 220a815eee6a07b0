"""Convert a request body to a wish; the models' errors are reported together with the core's refusals."""

from pydantic import BaseModel

from service.api.errors import invalid
from service.api.validation import ERRORS_MAX, problems_of, read_object
from service.core.endpoints.settings import EndpointWish


def read_wish(model: type[BaseModel], body: bytes) -> EndpointWish:
    """Parse the body. Raises ``ApiError`` (400) if it is not a JSON object, or has more errors than are told."""
    value = read_object(body)
    unreadable = dict(problems_of(model, value))
    if len(unreadable) > ERRORS_MAX:  # those that are not told name fields that the core must not see
        raise invalid("the request is not valid", unreadable)
    broken = {path.partition(".")[0].partition("[")[0] for path in unreadable}
    return EndpointWish({name: each for name, each in value.items() if name not in broken}, unreadable)
