"""Sending again what has died at an endpoint: counted first, then replayed at a rate."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.api.errors import ApiError
from service.core.replays.job import RATE_DEFAULT
from service.web.done import Done
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.endpoints.form import by_field, in_utc
from service.web.pages.endpoints.known import is_missing, is_the_callers, known, path_of
from service.web.pages.endpoints.show import head_of

_FORM: Final = "%Y-%m-%dT%H:%M"
_LAST_DAY: Final = timedelta(days=1)


async def show_recover(visit: Visit) -> Result:
    """The form; with a time, also how many it concerns."""
    return await _page(visit, visit.query("since"), is_counted=bool(visit.query("since")))


async def recover(visit: Visit) -> Result:
    """Replay what has died since then."""
    since, rate = visit.form.get("since"), visit.form.get("rate")
    body = {"since": in_utc(since), "rate": visit.form.number("rate"), "resume": "resume" in visit.form}
    try:
        job = await visit.ask("recover_endpoint", path_of(visit), body=body)
    except ApiError as error:
        if not is_the_callers(error):
            raise
        return await _page(visit, since, rate, error, is_counted=True)
    return Moved(visit.url(f"/endpoints/{visit.path('id')}/recover", job=job["id"]), Done.RECOVERY_STARTED)


async def _page(
    visit: Visit, since: str, rate: str = str(RATE_DEFAULT), error: ApiError | None = None, *, is_counted: bool
) -> Result:
    endpoint = await known(visit)
    errors, counted, job = by_field(error.errors) if error else {}, None, None
    problem = error.sentence if error and not errors else ""
    if is_counted and "since" not in errors:
        try:
            counted = await visit.ask(
                "recover_endpoint", path_of(visit), body={"since": in_utc(since), "dry_run": True}
            )
        except ApiError as refused:
            if not is_the_callers(refused):
                raise
            errors, problem, error = by_field(refused.errors), refused.sentence, error or refused
    if visit.query("job"):
        job = await _job(visit, endpoint.id)
    context = {
        **await head_of(visit, endpoint),
        "tab": "recover",
        "since": since or f"{datetime.now(UTC) - _LAST_DAY:{_FORM}}",
        "rate": rate,
        "counted": counted,
        "errors": errors,
        "refusal": problem,
        "job": job,
    }
    return Shown("endpoint-recover.html", endpoint.shown["url"], context, error.status if error else 200)


async def _job(visit: Visit, endpoint_id: str) -> dict[str, Any] | None:
    """The replay that the form has begun; None if it is not of this endpoint."""
    try:
        job: dict[str, Any] = await visit.ask("get_replay", {"id": visit.query("job")})
    except ApiError as error:
        if not is_missing(error):
            raise
        return None
    return job if job["endpoint_id"] == endpoint_id else None
