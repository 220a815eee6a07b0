"""Event types, with their schemas and samples."""

from collections.abc import Sequence

from service.web.page import Page, Result, Shown, Visit
from service.web.pages.filtering import as_file, as_query, is_whole
from service.web.words import counted


async def show_types(visit: Visit) -> Result:
    """The built-in types, then the organization's own."""
    page = await visit.ask("list_event_type_names", query=as_query({}, visit))
    title = counted(len(page["data"]), "event type") if is_whole(page) else "Event types"
    return Shown("types.html", title, {"page": page})


async def export_types(visit: Visit) -> Result:
    """All types, as a file."""
    return as_file(visit, "list_event_types", {})


async def show_type(visit: Visit) -> Result:
    """One type."""
    found = await visit.ask("get_event_type", {"name": visit.path("name")})
    return Shown("type.html", found["name"], {"found": found})


def type_pages() -> Sequence[Page]:
    """The pages of event types."""
    section = "types"
    return (
        Page("GET", "/event-types", show_types, section),
        Page("GET", "/event-types/export", export_types, section),
        Page("GET", "/event-types/{name}", show_type, section),
    )
