"""Replay jobs: what is made again, how far that is, and new ones, counted before they begin."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from service.api.errors import ApiError
from service.web.done import Done
from service.web.page import Moved, Page, Result, Shown, Visit, as_number
from service.web.pages.filtering import as_file, as_query, key_names, urls_by_id
from service.web.words import counted, number

ORDERS = {"pause": Done.REPLAY_PAUSED, "resume": Done.REPLAY_RESUMED, "cancel": Done.REPLAY_CANCELLED}


async def show_replays(visit: Visit) -> Result:
    """The jobs, newest first."""
    page = await visit.ask("list_replays", query=as_query({}, visit))
    running = sum(each["state"] in {"pending", "running"} for each in page["data"])
    title = f"{counted(running, 'replay')} running" if running else "No replay is running"
    return Shown("replays.html", title, {"page": page, "urls": await urls_by_id(visit)})


async def export_replays(visit: Visit) -> Result:
    """All jobs, as a file."""
    return as_file(visit, "list_replays", {})


async def show_replay(visit: Visit) -> Result:
    """One job, and how far it is; the page looks again by itself while it goes on."""
    job = await visit.ask("get_replay", {"id": visit.path("id")})
    context = {"job": job, "urls": await urls_by_id(visit), "names": await key_names(visit)}
    return Shown("replay.html", _title(job), context)


def _title(job: Mapping[str, Any]) -> str:
    if job["state"] in {"pending", "running"} and not job["is_counted"]:
        return "Counting what to replay"
    what = "1 delivery" if job["total_count"] == 1 else f"{number(job['total_count'])} deliveries"
    match job["state"]:
        case "done":
            return f"{number(job['created_count'])} of {what} made again"
        case "cancelled":
            return f"Cancelled after {number(job['created_count'])} of {what}"
        case "failed":
            return "This replay failed"
        case "paused":
            return f"Paused at {number(job['created_count'])} of {what}"
        case _:
            return f"Replaying {what}"


async def ask_replay(visit: Visit, *, errors: Mapping[str, Sequence[str]] | None = None) -> Result:
    """The form of a new job. To count takes a while, so that is asked for; what came with a link is asked by script."""
    given = {name: visit.form.get(name) or visit.query(name) for name in _FIELDS}
    count, is_told = None, bool(given["endpoint_id"] or given["event_type"])
    if visit.query("count") and not errors:
        try:
            count = await visit.ask("create_replay", body={**_body(given), "dry_run": True})
        except ApiError as refused:
            if refused.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                raise
            errors = refused.errors or {"endpoint_id": [refused.sentence]}
    context = {
        "given": given,
        "count": count,
        "uncounted": visit.url("/replays/new", **given, count=1) if is_told and not (count or errors) else "",
        "errors": errors or {},
        "urls": await urls_by_id(visit),
    }
    return Shown("new-replay.html", "Replay what has ended", context, status=400 if errors else 200)


async def make_replay(visit: Visit) -> Result:
    """Begin a job."""
    given = {name: visit.form.get(name) for name in _FIELDS}
    try:
        job = await visit.ask("create_replay", body=_body(given))
    except ApiError as refused:
        if not refused.errors and refused.status != HTTPStatus.CONFLICT:
            raise
        return await ask_replay(visit, errors=refused.errors or {"endpoint_id": [refused.sentence]})
    return Moved(visit.url(f"/replays/{job['id']}"), Done.REPLAY_STARTED)


_FIELDS = ("endpoint_id", "event_type", "states", "since", "until", "rate")
_OFFSET = re.compile(r"T.*([Zz]|[+-]\d\d:\d\d)$")


def _body(given: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are filled in, as the operation takes them. A time without an offset is in UTC."""
    body: dict[str, Any] = {name: given[name] for name in ("endpoint_id", "event_type") if given[name]}
    if given["states"]:
        body["states"] = given["states"].split(",")
    for name in ("since", "until"):
        if given[name]:
            text = given[name].replace(" ", "T")
            body[name] = text if _OFFSET.search(text) else f"{text}{':00' * (text.count(':') == 1)}Z"
    if given["rate"]:
        body["rate"] = as_number(given["rate"])
    return body


async def order(visit: Visit) -> Result:
    """Pause, resume or cancel a job."""
    job_id, wanted = visit.path("id"), visit.path("order")
    await visit.ask(f"{wanted}_replay", {"id": job_id})
    return Moved(visit.url(f"/replays/{job_id}"), ORDERS[wanted])


def replay_pages() -> Sequence[Page]:
    """The pages of replay jobs."""
    section = "replays"
    return (
        Page("GET", "/replays", show_replays, section),
        Page("GET", "/replays/export", export_replays, section),
        Page("GET", "/replays/new", ask_replay, section, scope="write"),
        Page("POST", "/replays", make_replay, section),
        Page("GET", "/replays/{id}", show_replay, section),
        Page("POST", "/replays/{id}/{order:pause|resume|cancel}", order, section),
    )
