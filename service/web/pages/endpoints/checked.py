"""What the API says of settings that are being typed."""

from collections.abc import Mapping
from typing import Any, Final

from service.web.page import Result, Shown, Visit
from service.web.pages.endpoints.choices import spelled_out
from service.web.pages.endpoints.form import EndpointForm, by_field

_NOT_CHECKED: Final = frozenset({"auth", "headers", "overlap_seconds"})
"""What is kept as *** is only known beside the endpoint that has it."""


async def check(visit: Visit) -> Result:
    """What is wrong with the URL, or what the filter lets through: a part of the page, while it is typed."""
    body, errors = EndpointForm.of_form(visit.form).body()
    checked = await look_at(visit, body)
    wrong = by_field(checked["errors"]) | errors
    context = {"part": visit.path("part"), "wrong": wrong, "url": body["url"], "has_types": bool(body["event_types"])}
    return Shown("endpoint-checked.html", "", {**context, **in_words(checked)})


async def look_at(visit: Visit, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the API says of these settings."""
    given = {name: each for name, each in body.items() if each not in (None, [], "") and name not in _NOT_CHECKED}
    found: Mapping[str, Any] = await visit.ask("check_endpoint", body=given)
    return found


def in_words(checked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schedule and the events of a check, for templates."""
    schedule = checked["retry"]
    return {"schedule": spelled_out(schedule) if schedule else "", "events": checked["events"]}
