"""Rehearsing an endpoint's receiver, and the report of it: what is wrong, what to do, and what each case came to."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.api.errors import ApiError
from service.api.v1.endpoints.rehearsals import REHEARSAL_SECONDS
from service.web.page import Result, Shown, Visit
from service.web.pages.endpoints.known import is_the_callers, known, path_of
from service.web.pages.endpoints.show import head_of

SECONDS_MAX: Final = REHEARSAL_SECONDS + 5.0
"""For the page: the rehearsal, and what else the page reads."""

_TITLES: Final = {
    "passed": ("ok", "Your receiver does everything right."),
    "advised": ("ok", "Your receiver works, and could do better."),
    "incomplete": ("warn", "Nothing is known to be wrong, but not every case could be tried."),
    "failed": ("bad", "Your receiver would lose events, or take forged ones."),
}
"""The tone and the sentence of each conclusion."""


async def show_rehearse(visit: Visit) -> Result:
    """What a rehearsal does, and the button that begins it."""
    return await _page(visit)


async def rehearse(visit: Visit) -> Result:
    """Rehearse, and show the report. It is stored nowhere: after a reload the browser asks before it does it again."""
    event_type = visit.form.get("event_type")
    try:
        report = await visit.ask("rehearse_endpoint", path_of(visit), body={"event_type": event_type or None})
    except ApiError as error:
        if not is_the_callers(error):
            raise
        return await _page(visit, error=error)
    return await _page(visit, report)


async def _page(visit: Visit, report: Mapping[str, Any] | None = None, error: ApiError | None = None) -> Shown:
    endpoint = await known(visit)
    context = {
        **await head_of(visit, endpoint),
        "tab": "rehearse",
        "report": report,
        "conclusion": _TITLES[report["conclusion"]] if report else None,
        "event_type": visit.form.get("event_type"),
        "errors": error.errors if error else {},
        "refusal": error.sentence if error and not error.errors else "",
        "answer_of": answer_of,
    }
    return Shown("endpoint-rehearse.html", endpoint.shown["url"], context, error.status if error else 200)


def answer_of(requests: Sequence[Mapping[str, Any]]) -> str:
    """What was answered in a case, each answer once: "204", "503, no answer (timeout)"."""
    told = (str(each["status"]) if each["status"] else f"no answer ({each['reason']})" for each in requests)
    return ", ".join(dict.fromkeys(told))
