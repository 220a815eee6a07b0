"""The signing secret: replaced with an overlap that can be ended early, and shown once."""

from collections.abc import Mapping
from typing import Any, Final

from service.api.errors import ApiError
from service.web.done import Done
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.endpoints.known import is_the_callers, known, path_of
from service.web.pages.endpoints.show import OVERLAPS, show_endpoint

_REPLACED_MEANWHILE: Final = "The secret was replaced since this page was opened. Look at it again first."
_TITLES: Final = {"replace": "Replace the signing secret?", "end-overlap": "End the old secret now?"}
"""The questions, by the last part of their paths."""


async def show_replace(visit: Visit) -> Result:
    """The question, as a page of its own."""
    return await _question(visit, "replace")


async def replace(visit: Visit) -> Result:
    """Replace the secret that the question was about, and show the new one once.

    A form that is sent twice replaces it once: the second time the newest secret is another one.
    """
    endpoint = await known(visit)
    if visit.form.get("newest") != endpoint.newest_secret_at:
        return await _question(visit, "replace", _REPLACED_MEANWHILE, status=409)
    body = {"overlap_seconds": visit.form.number("overlap_seconds")}
    try:
        made = await visit.ask("rotate_endpoint_secret", path_of(visit), body=body)
    except ApiError as error:
        if not is_the_callers(error):
            raise
        problem = "; ".join(error.errors.get("overlap_seconds", [error.sentence]))
        return await _question(visit, "replace", problem, error.status)
    return await show_new_secret(visit, endpoint.id, made)


async def show_end_overlap(visit: Visit) -> Result:
    """The question, as a page of its own."""
    return await _question(visit, "end-overlap")


async def end_overlap(visit: Visit) -> Result:
    """End the older secrets, if the newest is still the one that the question was about."""
    endpoint = await known(visit)
    if visit.form.get("newest") != endpoint.newest_secret_at:
        return await _question(visit, "end-overlap", _REPLACED_MEANWHILE, status=409)
    try:
        await visit.ask("end_secret_overlap", path_of(visit))
    except ApiError as error:
        if not is_the_callers(error):
            raise
        return await _question(visit, "end-overlap", error.sentence, error.status)
    return Moved(endpoint.url(visit), Done.OVERLAP_ENDED)


async def show_new_secret(visit: Visit, endpoint_id: str, made: Mapping[str, Any], *, is_first: bool = False) -> Result:
    """The endpoint's page with its new secret on top. It is nowhere else: not in a URL, not in a page that is kept."""
    shown = {"secret": made.get("secret"), "public_key": made.get("public_key"), "is_first": is_first}
    return await show_endpoint(visit, endpoint_id=endpoint_id, new_secret=shown)


async def _question(visit: Visit, question: str, problem: str = "", status: int = 200) -> Shown:
    context = {"endpoint": await known(visit), "question": question, "problem": problem, "overlaps": OVERLAPS}
    return Shown("endpoint-question.html", _TITLES[question], context, status)
