"""One delivery with its attempts, and how deliveries are made again."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from service.core.deliveries.delivery import FINAL_STATES
from service.web.done import Done
from service.web.page import Moved, Result, Shown, Visit
from service.web.pages.body import body_of, fits, shown_body
from service.web.pages.deliveries.curl import as_curl
from service.web.pages.deliveries.exchange import Exchange, exchange_of
from service.web.pages.deliveries.signatures import SIGNED, checked
from service.web.pages.deliveries.strip import strip_of
from service.web.pages.endpoints.choices import spelled_out
from service.web.words import counted, in_words


async def show_delivery(visit: Visit) -> Result:
    """One delivery: each attempt with request and reply, what comes next, and what the event did elsewhere."""
    return await _delivery_page(visit)


async def _delivery_page(visit: Visit, check: Mapping[str, Any] | None = None) -> Shown:
    delivery = await visit.ask("get_delivery", {"id": visit.path("id")})
    endpoint = await visit.ask_if_there("get_endpoint", {"id": delivery["endpoint_id"]})
    elsewhere = await visit.ask_if_there("explain_event", {"event_id": delivery["event_id"]}, {"limit": "6"})
    body = await body_of(visit, delivery["event_id"])
    exchanges = [exchange_of(each, endpoint) for each in reversed(delivery["attempts"])]
    last = exchanges[0] if exchanges else None
    schedule = endpoint["schedule"] if endpoint else None
    context = {
        "body": body,
        "shown_body": shown_body(body) if body else None,
        "is_whole": body is not None and fits(body),
        "delivery": delivery,
        "exchanges": exchanges,
        "last": last,
        **_failures(exchanges),
        "strip": strip_of(delivery, schedule, has_ended=delivery["state"] in FINAL_STATES),
        "endpoint": endpoint,
        "keeper": delivery["held_by"],
        "elsewhere": [each for each in (elsewhere or {"data": []})["data"] if _is_elsewhere(each, delivery)],
        "curl": as_curl(delivery, last.shown if last else None, endpoint, body),
        "check": check,
        "signed": SIGNED[endpoint["signature_style"]] if endpoint else None,
        "schedule": spelled_out(schedule) if schedule else "",
        "retries": _retries(endpoint),
    }
    return Shown("delivery.html", _delivery_title(delivery), context)


def _failures(exchanges: Sequence[Exchange]) -> Mapping[str, Any]:
    """How many of the newest attempts failed in a row, also in words; those that do not count are passed over."""
    counted_ones = [each for each in exchanges if each.shown["is_counted"]]
    count = len(list(takewhile(lambda each: not each.is_good, counted_ones)))
    return {
        "last_failed": counted_ones[0] if count else None,
        "failed_count": count,
        "failed_words": f"{in_words(count).capitalize()} attempt{'s' if count > 1 else ''}",
    }


def _retries(endpoint: Mapping[str, Any] | None) -> str:
    """What the endpoint's retries are called."""
    match endpoint and endpoint["retry"]:
        case None:
            return "the service's own"
        case str(preset):
            return preset
        case _:
            return "delays of its own"


def _delivery_title(delivery: Mapping[str, Any]) -> str:
    name, made = delivery["event_type"], delivery["attempts_made"]
    match delivery["state"]:
        case "delivered":
            return f"{name} arrived" + (f" at the {_ordinal(made)} attempt" if made > 1 else "")
        case "dead":
            return f"{name} was given up after {counted(made, 'attempt')}"
        case "cancelled":
            return f"{name} was cancelled"
        case "leased":
            return f"{name} is being sent"
        case _:
            of = f" of {delivery['attempts_max']}" if delivery["attempts_max"] else ""
            return f"{name} waits for attempt {made + 1}{of}"


def _ordinal(position: int) -> str:
    words = {1: "first", 2: "second", 3: "third"}
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if position % 100 in {11, 12, 13} else endings.get(position % 10, "th")
    return words.get(position, f"{position}{ending}")


def _is_elsewhere(found: Mapping[str, Any], delivery: Mapping[str, Any]) -> bool:
    return bool(found["deliveries"]) and found["subscription_id"] != delivery["subscription_id"]


async def check_signature(visit: Visit) -> Result:
    """Check the signature of an attempt with a secret that the visitor has in hand."""
    delivery = await visit.ask("get_delivery", {"id": visit.path("id")})
    body = await body_of(visit, delivery["event_id"])
    number = visit.form.get("attempt")
    attempt = next((each for each in delivery["attempts"] if str(each["number"]) == number), None)
    endpoint = await visit.ask_if_there("get_endpoint", {"id": delivery["endpoint_id"]})
    return await _delivery_page(visit, checked(visit.form.get("secret"), attempt, body, endpoint))


async def replay(visit: Visit) -> Result:
    """Make what was selected again: one at once, several as a job."""
    ids = visit.form.all("ids")
    if len(ids) == 1:
        made = await visit.ask("replay_delivery", {"id": ids[0]})
        return Moved(visit.url(f"/deliveries/{made['id']}"), Done.REPLAYED)
    job = await visit.ask("create_replay", body={"ids": ids})
    return Moved(visit.url(f"/replays/{job['id']}"), Done.REPLAY_STARTED)
