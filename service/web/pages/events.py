"""Events, what became of each, and the message that one is about; and whatever an id leads to."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from msgspec import Raw, Struct, ValidationError
from msgspec.json import Decoder

from service.web.page import Moved, Page, Result, Shown, Visit
from service.web.pages.body import body_of, fits
from service.web.pages.filtering import WITHIN_CHOICES, as_file, as_query, asked
from service.web.pages.story import steps_of

FILTERS: Final = ("event_type", "message_id", "brand_id", "campaign_id", "project_id", "within")
MEANT_FOR: Final = ("delivered", "gated", "pending", "leased", "dead", "cancelled", "fanning_out")
"""Of subscriptions that were to get the event, whatever became of that."""

ABOUT_CHARACTERS_MAX: Final = 80
"""Of a text, in a list of events."""


class Message(Struct):
    """The part of an event's message that is shown."""

    id: str = ""
    text: str | None = None


class _Answered(Struct):
    message_id: str | None = None


class _Data(Struct):
    message: Message | None = None


class _ReplyData(Struct):
    reply_to: _Answered | None = None


class _Envelope(Struct):
    data: _Data | None = None


class _ReplyEnvelope(Struct):
    data: _ReplyData | None = None


class _Row(Struct):
    """The part of an event that a list shows. The rest is skipped: it may be a quarter of a megabyte."""

    id: str
    type: str
    received_at: str
    test: bool = False
    data: Raw = Raw(b"{}")

    @property
    def about(self) -> str:
        """What it is about, as far as its data says: its message's text, or its id."""
        message = message_of(b'{"data":%b}' % bytes(self.data))
        return (message.text or message.id)[:ABOUT_CHARACTERS_MAX]


class _Rows(Struct):
    data: list[_Row]
    next_cursor: str | None
    prev_cursor: str | None


_page_of: Final = Decoder(_Rows)
_envelope_of: Final = Decoder(_Envelope)
_reply_of: Final = Decoder(_ReplyEnvelope)


def message_of(body: bytes) -> Message:
    """The message of an event's body; an empty one where there is none, or it is of another form."""
    try:
        data = _envelope_of.decode(body).data
    except ValidationError:
        return Message()
    return (data and data.message) or Message()


def answered_by(body: bytes) -> str:
    """The id of the message that an event's message is a reply to; "" if it is none, or of another form."""
    try:
        data = _reply_of.decode(body).data
    except ValidationError:
        return ""
    return (data and data.reply_to and data.reply_to.message_id) or ""


async def show_events(visit: Visit) -> Result:
    """Everything that was received, also what nobody subscribed to; newest first."""
    filters = asked(visit, *FILTERS)
    answer = await visit.inside.answer("list_events", visit.caller, query=as_query(filters, visit))
    page = _page_of.decode(answer.text or "")
    title = "Everything that was received" if page.data else "No event matches" if filters else "No event came yet"
    return Shown("events.html", title, {"page": page, "filters": filters, "choices": {"within": WITHIN_CHOICES}})


async def export_events(visit: Visit) -> Result:
    """All that match the filters, as a file."""
    return as_file(visit, "list_events", as_query(asked(visit, *FILTERS), visit))


async def show_event(visit: Visit) -> Result:
    """One event: what happened at each subscription, its envelope, and its message's story."""
    path = {"event_id": visit.path("id")}
    filters = asked(visit, "finding", "removed")
    explained = await visit.ask("explain_event", path, as_query(filters, visit))
    body = await body_of(visit, path["event_id"])
    sent = (body or "{}").encode()
    message = await _message_told(visit, sent)
    context = {
        "explained": explained,
        "to_get_it": sum(explained["summary"]["findings"].get(each, 0) for each in MEANT_FOR),
        "body": body,
        "body_bytes": len(sent),
        "is_whole": body is not None and fits(body),
        "message": message,
        "answers": message is not None and message["message_id"] == answered_by(sent),
        "steps": steps_of(message, explained["event_id"], explained["event_type"]) if message else (),
        "filters": filters,
    }
    return Shown("event.html", explained["summary"]["sentence"], context)


async def _message_told(visit: Visit, body: bytes) -> Any:  # noqa: ANN401 - an operation's answer, as JSON has it
    """The message that the event's is a reply to, or else its own; None if there is none."""
    for message_id in filter(None, (answered_by(body), message_of(body).id)):
        message = await visit.ask_if_there("get_message", {"message_id": message_id})
        if message is not None:
            return message
    return None


async def find(visit: Visit) -> Result:
    """Go to whatever the text names: an endpoint, a delivery, a replay, an event, a message; else search endpoints."""
    text = visit.query("q")
    for prefix, where in (("ep_", "endpoints"), ("dlv_", "deliveries"), ("rpl_", "replays")):
        if text.startswith(prefix):
            return Moved(visit.url(f"/{where}/{quote(text, safe='')}"))
    if text and "/" not in text and " " not in text:
        if await body_of(visit, text) is not None:
            return Moved(visit.url(f"/events/{quote(text, safe='')}"))
        message = await visit.ask_if_there("get_message", {"message_id": text})
        if message is not None:
            return Moved(visit.url(f"/events/{message['events'][-1]}"))
    return Moved(visit.url("/endpoints", search=text))


def event_pages() -> Sequence[Page]:
    """The pages of events."""
    return (
        Page("GET", "/events", show_events, "events"),
        Page("GET", "/events/export", export_events, "events"),
        Page("GET", "/events/{id}", show_event, "events"),
        Page("GET", "/find", find, "events"),
    )
