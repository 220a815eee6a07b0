"""The page of an endpoint: its health, its settings, its secret, and what came of a test event."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.api.errors import ApiError
from service.web.page import Result, Shown, Visit
from service.web.pages.endpoints.checked import in_words, look_at
from service.web.pages.endpoints.choices import form_parts
from service.web.pages.endpoints.form import EndpointForm
from service.web.pages.endpoints.known import Known, is_missing, is_the_callers, known, why_failed

OVERLAPS: Final = (
    ("86400", "For a day"),
    ("3600", "For an hour"),
    ("604800", "For a week"),
    ("0", "Not at all: it ends at once"),
)
"""For how long the old secret goes on signing, in seconds."""


async def show_health(visit: Visit) -> Result:
    """Health and settings."""
    return await show_endpoint(visit)


async def show_endpoint(
    visit: Visit,
    *,
    endpoint_id: str | None = None,
    new_secret: Mapping[str, Any] | None = None,
    typed: EndpointForm | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
    problem: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Shown:
    """The first tab, with a secret to show once, or with what was typed and what is wrong with it.

    ``problem`` has the ``title`` and the ``sentence`` of a notice above everything.
    """
    endpoint = await known(visit, endpoint_id)
    may_change = visit.may("write") and not endpoint.has_ended
    form = typed or EndpointForm.of_endpoint(endpoint.shown, as_json=visit.query("filter") == "json")
    context = {
        **await head_of(visit, endpoint),
        "tab": "health",
        "known": endpoint.shown,
        "stats": await visit.ask("get_stats", query={"endpoint_id": endpoint.id}),
        "form": form,
        "errors": errors or {},
        "new_secret": new_secret,
        "problem": problem,
        "overlaps": OVERLAPS,
        "schedule": "",
        "events": None,
    }
    if may_change:
        context |= {**await form_parts(visit), **in_words(await look_at(visit, form.body()[0]))}
    return Shown("endpoint.html", endpoint.shown["url"], context, status)


async def head_of(visit: Visit, endpoint: Known) -> Mapping[str, Any]:
    """What all tabs of an endpoint show above them."""
    return {
        "endpoint": endpoint,
        "may_change": visit.may("write") and not endpoint.has_ended,
        "tried": await tried(visit, endpoint, visit.query("test")),
    }


async def tried(visit: Visit, endpoint: Known, delivery_id: str) -> Mapping[str, Any] | None:
    """What has come of a test event, by the id of its delivery; None if none was sent, or it is not here."""
    if not delivery_id:
        return None
    try:
        delivery = await visit.ask("get_delivery", {"id": delivery_id})
    except ApiError as error:
        if is_the_callers(error) or is_missing(error):
            return None
        raise
    if delivery["endpoint_id"] != endpoint.id:
        return None
    last = delivery["attempts"][-1] if delivery["attempts"] else None
    return {
        "delivery": delivery,
        "last": last,
        "keeper": delivery["held_by"],
        "is_open": delivery["state"] in {"pending", "leased"},
        "why": why_failed(last["reason"], last["status"]) if last else "",  # not that no attempt is left
    }
