"""An event's body on a page: the very text that is sent, and the same for people to read."""

from http import HTTPStatus

from markupsafe import Markup

from service.api.errors import ApiError
from service.web.code import coloured_json
from service.web.page import Visit
from service.web.words import INDENTED_CHARACTERS_MAX


async def body_of(visit: Visit, event_id: str) -> str | None:
    """The body that is sent of an event, exactly; None if it is no longer stored."""
    try:
        return (await visit.inside.answer("get_event_body", visit.caller, path={"event_id": event_id})).text
    except ApiError as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def fits(body: str) -> bool:
    """Whether a page shows all of the body: then it can be copied from there."""
    return len(body) <= INDENTED_CHARACTERS_MAX


def shown_body(body: str) -> Markup:
    """The body for people to read: indented and coloured, or the beginning of a long one."""
    return coloured_json(body) if fits(body) else Markup("{}…").format(body[:INDENTED_CHARACTERS_MAX])
