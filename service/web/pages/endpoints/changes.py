"""What is done to an endpoint: saved, paused, resumed, removed, tried out."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import ETag

from service.api.errors import ApiError, Code
from service.web.done import Done
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.endpoints.form import EndpointForm, by_field
from service.web.pages.endpoints.known import Known, is_the_callers, known, path_of
from service.web.pages.endpoints.secret import show_new_secret
from service.web.pages.endpoints.show import head_of, show_endpoint, tried
from service.web.pages.filtering import key_names

CHANGES_SHOWN_MAX: Final = 3


async def save(visit: Visit) -> Result:
    """Save the settings, if they are still those that the form was opened with."""
    endpoint, typed = await known(visit), EndpointForm.of_form(visit.form)
    body, errors = typed.body(endpoint.shown)
    if errors:
        return await show_endpoint(visit, typed=typed, errors=errors, status=400)
    version = (ETag(visit.form.get("version")),)
    problem: Mapping[str, Any] | None
    try:
        changed = await visit.ask("update_endpoint", path_of(visit), body=body, if_match=version)
    except ApiError as error:
        if error.code is Code.PRECONDITION_FAILED:
            problem = await _who_changed_it(visit, endpoint)
            return await show_endpoint(visit, typed=typed, problem=problem, status=error.status)
        if not is_the_callers(error):
            raise
        wrong = by_field(error.errors)
        problem = None if wrong else {"title": "This was not saved.", "sentence": error.sentence}
        return await show_endpoint(visit, typed=typed, errors=wrong, problem=problem, status=error.status)
    if changed.get("secret") or changed.get("public_key"):
        return await show_new_secret(visit, endpoint.id, changed)
    return Moved(endpoint.url(visit), Done.ENDPOINT_CHANGED)


async def _who_changed_it(visit: Visit, endpoint: Known) -> Mapping[str, Any]:
    """What happened since the form was opened, as far as the visitor may know."""
    problem: dict[str, Any] = {
        "title": "Somebody changed this endpoint while you had it open.",
        "sentence": "Nothing was saved. Below is what you typed; saving again replaces what they changed.",
        "changes": [],
    }
    if visit.may("admin"):
        query = {"object_id": endpoint.id, "limit": str(CHANGES_SHOWN_MAX)}
        problem["changes"] = (await visit.ask("list_audit", query=query))["data"]
    return problem


async def pause(visit: Visit) -> Result:
    """Pause it."""
    shown = await visit.ask("pause_endpoint", path_of(visit))
    return Moved(visit.url(f"/endpoints/{shown['id']}"), Done.ENDPOINT_PAUSED)


async def resume(visit: Visit) -> Result:
    """End being paused, or disabled."""
    shown = await visit.ask("resume_endpoint", path_of(visit))
    return Moved(visit.url(f"/endpoints/{shown['id']}"), Done.ENDPOINT_RESUMED)


async def show_remove(visit: Visit) -> Result:
    """The question, as a page of its own."""
    context = {"endpoint": await known(visit), "question": "remove", "problem": "", "overlaps": ()}
    return Shown("endpoint-question.html", "Remove this endpoint?", context)


async def remove(visit: Visit) -> Result:
    """Remove it."""
    await visit.ask("delete_endpoint", path_of(visit))
    return Moved(visit.url("/endpoints"), Done.ENDPOINT_REMOVED)


async def send_test(visit: Visit) -> Result:
    """Send a test event, and go on to the page that shows what comes of it."""
    event_type = visit.form.get("event_type")
    try:
        delivery = await visit.ask("test_endpoint", path_of(visit), body={"event_type": event_type or None})
    except ApiError as error:
        if not is_the_callers(error):
            raise
        reasons = [each for sentences in error.errors.values() for each in sentences]
        problem = {"title": "No test event was sent.", "sentence": "; ".join(reasons) or error.sentence}
        return await show_endpoint(visit, problem=problem, status=error.status)
    return Moved(visit.url(f"/endpoints/{delivery['endpoint_id']}", test=delivery["id"]))


async def follow_test(visit: Visit) -> Result:
    """What has come of a test event so far, as a part of the page."""
    endpoint = await known(visit)
    context = {"endpoint": endpoint, "tried": await tried(visit, endpoint, visit.query("test"))}
    return Shown("endpoint-tried.html", "", context)


async def show_history(visit: Visit) -> Result:
    """What became of it: gates now, and who changed what, for those who may read the audit log."""
    endpoint = await known(visit)
    query = {"object_id": endpoint.id, "cursor": visit.query("cursor")}
    entries = None
    if visit.may("admin"):
        entries = await visit.ask("list_audit", query={name: each for name, each in query.items() if each})
    context = {**await head_of(visit, endpoint), "tab": "history", "entries": entries, "names": await key_names(visit)}
    return Shown("endpoint-history.html", endpoint.shown["url"], context)
