"""The overview of an organization: what fails, what waits and why, and deliveries over time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.web.page import Page, Result, Shown, Visit
from service.web.words import PERIODS, counted, in_words

_PERIOD: Final = "24h"
_GATES: Final = {
    "breaker": "Left alone after failures",
    "retry_after": "Asked us to wait",
    "paused": "Paused by hand",
    "disabled": "Disabled after failing for days",
}
_FAILURES: Final = {
    "timeout": "Timeout",
    "tls": "TLS",
    "dns": "DNS",
    "connect_refused": "Connection refused",
    "connect_reset": "Connection reset",
    "protocol_error": "No valid HTTP",
    "redirect": "Redirect",
    "blocked_destination": "Address not allowed",
    "payload_too_large": "Too large",
    "stale_connection": "Connection lost",
}


async def show_overview(visit: Visit) -> Result:
    """Show the figures of a period."""
    stats = await visit.ask("get_stats", query={"period": visit.query("period") or _PERIOD})
    failing = [each["endpoint_id"] for each in stats["failing"]]
    query = {"endpoint_id": ",".join(failing)}
    lines = (await visit.ask("list_endpoint_stats", query=query))["data"] if failing else []
    context = {
        "stats": stats,
        "over": PERIODS[stats["period"]],
        "lead": lead_of(stats),
        "lines": {each["endpoint_id"]: each for each in lines},
        "gates": [{**each, "label": _GATES.get(each["kind"], each["kind"])} for each in stats["gates"]],
        "failure_of": failure_of,
    }
    return Shown("overview.html", title_of(stats), context, failing_count=stats["failing_count"])


def title_of(stats: Mapping[str, Any]) -> str:
    """The page's answer in a sentence."""
    failing, endpoints = stats["failing_count"], stats["endpoints"]
    if not endpoints:
        return "Webhooks go nowhere yet"
    if not failing:
        return "Everything arrives"
    if endpoints == 1:
        return "The endpoint is failing"
    if failing == endpoints:
        return f"All {in_words(endpoints)} endpoints are failing"
    verb = "is" if failing == 1 else "are"
    return f"{in_words(failing).capitalize()} of {in_words(endpoints)} endpoints {verb} failing"


def lead_of(stats: Mapping[str, Any]) -> str:
    """What follows from it, and what may be done."""
    if not stats["endpoints"]:
        return "Add the first URL: every event of the types that you choose is then sent to it, signed."
    sentences = []
    waiting, dead = stats["backlog"]["open"], stats["totals"]["dead"]
    if stats["failing_count"]:
        sentences += ["Everything else arrives."] if stats["failing_count"] < stats["endpoints"] else []
        if waiting:
            wait = "waits and is tried again by itself" if waiting == 1 else "wait and are tried again by themselves"
            more = "more than " if stats["backlog"]["is_capped"] else ""
            lost = "" if dead else "Nothing is lost: "
            sentences.append(f"{lost}{more}{counted(waiting, 'delivery', 'deliveries')} {wait}.")
    elif stats["endpoints"] == 1:
        sentences.append("The endpoint takes what it is sent.")
    else:
        sentences.append(f"All {in_words(stats['endpoints'])} endpoints take what they are sent.")
    if dead:
        was = "was" if dead == 1 else "were"
        told = counted(dead, "delivery", "deliveries")
        sentences.append(f"{told} of the {PERIODS[stats['period']]} {was} given up.")
    return " ".join(sentences)


def failure_of(each: Mapping[str, Any]) -> str:
    """A failure's name: "Timeout", "HTTP 503"."""
    if each["last_failure_status"] is not None:
        return f"HTTP {each['last_failure_status']}"
    return _FAILURES.get(each["last_failure_reason"], "Failing")


def overview_pages() -> Sequence[Page]:
    """The page."""
    return (Page("GET", "/overview", show_overview, section="overview"),)
