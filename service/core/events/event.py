"""An event: a fact published once by a producer, in the one envelope used everywhere (``parse_event``)."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from service.core.events.complaints import complaints_about, ways_to
from service.core.events.registry import REGISTRY, Complaint, about_of, is_event_type_name, unknown_type
from service.core.events.urn import with_plain_urns
from service.core.field_code import FieldCode
from service.core.reason import ParkReason
from service.core.timestamp import format_timestamp, parse_timestamp

BODY_BYTES_MAX = 256 * 1024
DEPTH_MAX = 64
FUTURE_MAX = timedelta(minutes=5)
CLOUDEVENTS = "application/cloudevents+json"

EVENT_ID_LENGTH_MAX = 64
# No dot: a dotted id lets two different messages sign alike.
EVENT_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{EVENT_ID_LENGTH_MAX}}}")
ORGANIZATION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_FIELDS: AbstractSet[str] = {"id", "type", "timestamp", "organization_id", "test", "data"}
_CLOUDEVENTS_NAMES = {"time": "timestamp", "organizationid": "organization_id"}
_ORGANIZATION_NAMES = {"organization_id", "organizationid"}
_CLOUDEVENTS_OWN: AbstractSet[str] = {"specversion", "datacontenttype", "dataschema"}

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_plain = msgspec.json.Decoder()
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # possessive, so linear; to the end if open
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")  # after an odd number of backslashes
_names_of = json.JSONDecoder(object_pairs_hook=lambda pairs: [name for name, _ in pairs], parse_int=str).decode


class Event(Struct, frozen=True, gc=False):
    """A valid event. ``body`` is its envelope, serialised once: the bytes stored, signed and sent.

    A ``type`` that is not built in, and its data, are still to be checked against the organization's directory.
    ``message_id`` is ``data.message.id``, ``external_id`` its ``external_id`` and ``reply_to_id``
    ``data.reply_to.message_id``, if they are strings of at most 256 characters; so are the ids of ``data.scope``.
    """

    id: str
    type: str
    occurred_at: datetime
    organization_id: str
    body: bytes
    is_test: bool = False
    message_id: str | None = None
    reply_to_id: str | None = None
    external_id: str | None = None
    brand_id: str | None = None
    campaign_id: str | None = None
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why these bytes are not an event. ``field`` names the invalid field; ``detail`` says what is wrong with it.

    ``others`` are what else is wrong, as far as its fields could be read. ``field_code`` is the code of what is wrong
    with the field, unless it follows from the reason. ``stand_in`` is for whoever has a directory: an event of which
    only type, organization and data are meant, to find out what is wrong with these; None if they cannot be told.
    """

    reason: ParkReason
    detail: str
    field: str | None = None
    others: tuple[Complaint, ...] = ()
    field_code: FieldCode | None = None
    stand_in: Event | None = None

    @property
    def complaints(self) -> tuple[Complaint, ...]:
        """Everything that is wrong, as complaints about fields; "" is the whole event."""
        code = self.field_code or _CODES.get(self.reason, FieldCode.INVALID)
        return Complaint(self.field or "", self.detail, code), *self.others

    def with_others(self, more: Sequence[Complaint]) -> "Rejected":
        """The same with more complaints, but for those about fields, or what is in them, that it complains of."""
        told = {each.field for each in self.complaints}
        added = (each for each in more if told.isdisjoint(ways_to(each.field)))
        return replace(self, others=(*self.others, *added))


_CODES: Mapping[ParkReason, FieldCode] = {
    ParkReason.TOO_LARGE: FieldCode.OUT_OF_RANGE,
    ParkReason.INVALID_UTF8: FieldCode.WRONG_FORM,
    ParkReason.BAD_JSON: FieldCode.WRONG_FORM,
    ParkReason.NOT_AN_OBJECT: FieldCode.WRONG_TYPE,
    ParkReason.DUPLICATE_KEY: FieldCode.REPEATED,
    ParkReason.TOO_DEEP: FieldCode.OUT_OF_RANGE,
    ParkReason.NUL_CHARACTER: FieldCode.WRONG_FORM,
    ParkReason.MISSING_ID: FieldCode.REQUIRED,
    ParkReason.MISSING_FIELD: FieldCode.REQUIRED,
    ParkReason.BAD_FIELD: FieldCode.WRONG_FORM,
    ParkReason.BAD_TIMESTAMP: FieldCode.WRONG_FORM,
    ParkReason.TIMESTAMP_IN_FUTURE: FieldCode.OUT_OF_RANGE,
    ParkReason.UNKNOWN_TYPE: FieldCode.UNKNOWN_VALUE,
    ParkReason.RESERVED_TYPE: FieldCode.NOT_ALLOWED,
    ParkReason.UNKNOWN_ORGANIZATION: FieldCode.UNKNOWN_VALUE,
    ParkReason.CONFLICT: FieldCode.REPEATED,
}


class _Invalid(Exception):  # noqa: N818 - never leaves this module: parse_event returns it as a value
    def __init__(
        self, reason: ParkReason, detail: str, field_name: str | None = None, code: FieldCode | None = None
    ) -> None:
        self.rejected = Rejected(reason, detail, field_name, field_code=code)


def parse_event(
    body: bytes,
    now: datetime,
    *,
    message_id: str | None = None,
    organization_id: str | None = None,
    content_type: str | None = None,
    fields: Mapping[str, msgspec.Raw] | None = None,
) -> Event | Rejected:
    """Read one envelope.

    ``message_id`` is the broker's and ``organization_id`` the caller's; they are used if the envelope has none. An
    envelope may not have another organization than the caller's.
    ``fields`` are the fields of ``body``, if already decoded. ``data`` and unknown keys keep the producer's bytes, so
    no number changes its notation; the envelope around them is serialised afresh, without white space.
    """
    try:
        fields = _envelope(body, fields)
        if organization_id is not None and not fields.keys() & _ORGANIZATION_NAMES:
            fields = {**fields, "organization_id": msgspec.Raw(msgspec.json.encode(organization_id))}
        if content_type is not None and content_type.partition(";")[0].strip().lower() == CLOUDEVENTS:
            fields = _from_cloudevents(fields)
    except _Invalid as invalid:
        return invalid.rejected
    try:
        return _event(fields, now, message_id, organization_id)
    except _Invalid as invalid:
        return _rejected(invalid.rejected, fields, now, message_id, organization_id)


def _envelope(body: bytes, fields: Mapping[str, msgspec.Raw] | None) -> Mapping[str, msgspec.Raw]:
    if len(body) > BODY_BYTES_MAX:
        raise _Invalid(ParkReason.TOO_LARGE, f"the event has {len(body)} bytes; the limit is {BODY_BYTES_MAX}")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _Invalid(ParkReason.INVALID_UTF8, f"not UTF-8 at byte {error.start}") from None
    _refuse_depth(body)
    try:
        fields = _fields_of.decode(body) if fields is None else fields
    except msgspec.ValidationError:
        raise _Invalid(ParkReason.NOT_AN_OBJECT, "an event must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Invalid(ParkReason.BAD_JSON, f"not JSON: {error}") from None
    _refuse_nul(body)
    _refuse_duplicate_keys(body, fields)
    return fields


def _refuse_depth(body: bytes) -> None:
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return  # this cheap check settles nearly every event
    deepest = depth_of(body)
    if deepest > DEPTH_MAX:
        raise _Invalid(ParkReason.TOO_DEEP, f"nested {deepest} levels deep; the limit is {DEPTH_MAX}")


def depth_of(body: bytes) -> int:
    """How deep JSON is nested; of other bytes, some number."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _refuse_nul(body: bytes) -> None:
    if b"\\u0000" in body and _NUL.search(body):  # the first settles nearly every event, sixty times faster
        raise _Invalid(ParkReason.NUL_CHARACTER, "a string contains U+0000, which many databases cannot store")


def _refuse_duplicate_keys(body: bytes, fields: Mapping[str, msgspec.Raw]) -> None:
    # The large value is cut out first, so this re-reads about 200 bytes of envelope instead of the whole event.
    data = bytes(fields.get("data", b""))
    outline = body.replace(data, b"null", 1) if len(data) > 2 else body
    try:
        names = _names_of(outline.decode())
    except ValueError as error:
        raise _Invalid(ParkReason.BAD_JSON, f"not JSON: {error}") from None
    if len(names) != len(fields):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise _Invalid(ParkReason.DUPLICATE_KEY, f"the key {twice!r} appears twice", twice)


def _from_cloudevents(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    if "data_base64" in fields:
        raise _Invalid(ParkReason.BAD_FIELD, "send data as JSON in 'data'", "data_base64")
    for theirs, ours in _CLOUDEVENTS_NAMES.items():
        if theirs in fields and ours in fields:  # after renaming, one of the two would be lost
            raise _Invalid(ParkReason.DUPLICATE_KEY, f"{theirs!r} and {ours!r} are the same field; send one", ours)
    renamed = {_CLOUDEVENTS_NAMES.get(name, name): raw for name, raw in fields.items()}
    return {name: raw for name, raw in renamed.items() if name not in _CLOUDEVENTS_OWN}


def _event(fields: Mapping[str, msgspec.Raw], now: datetime, message_id: str | None, caller: str | None) -> Event:
    event_id = _id(fields, message_id)
    event_type = _type(fields)
    organization_id = _organization_id(fields, caller)
    occurred_at = _occurred_at(fields, now)
    is_test = _is_test(fields)
    data = bytes(_required(fields, "data"))
    about = about_of(event_type, data)
    if isinstance(about, Complaint):
        raise _Invalid(ParkReason.BAD_DATA, about.detail, about.field, about.code)
    if event_type in REGISTRY:
        data = with_plain_urns(data)
    parts = [
        b'{"id":"%b","type":"%b","timestamp":"%b","organization_id":"%b","test":%b,"data":%b'
        % (
            event_id.encode(),
            event_type.encode(),
            format_timestamp(occurred_at).encode(),
            organization_id.encode(),
            b"true" if is_test else b"false",
            data,
        )
    ]
    others = ((name, raw) for name, raw in fields.items() if name not in _FIELDS)
    parts += [b",%b:%b" % (msgspec.json.encode(name), bytes(raw)) for name, raw in others]
    parts.append(b"}")
    whole = b"".join(parts)
    if len(whole) > BODY_BYTES_MAX:
        raise _Invalid(ParkReason.TOO_LARGE, f"the event has {len(whole)} bytes; the limit is {BODY_BYTES_MAX}")
    ids = (about.message_id, about.reply_to_id, about.external_id)
    scope = (about.brand_id, about.campaign_id, about.project_id)
    return Event(event_id, event_type, occurred_at, organization_id, whole, is_test, *ids, *scope)


def _rejected(
    first: Rejected, fields: Mapping[str, msgspec.Raw], now: datetime, message_id: str | None, caller: str | None
) -> Rejected:
    """Everything that is wrong with the fields of an envelope, of which ``_event`` found the first."""
    readers: tuple[Callable[[], object], ...] = (
        lambda: _id(fields, message_id),
        lambda: _type(fields),
        lambda: _organization_id(fields, caller),
        lambda: _occurred_at(fields, now),
        lambda: _is_test(fields),
        lambda: _required(fields, "data"),
    )
    found: list[Complaint] = []
    for read in readers:
        try:
            read()
        except _Invalid as invalid:
            found += invalid.rejected.complaints
    event_type = "" if any(each.field == "type" for each in found) else _type(fields)
    data = bytes(fields.get("data", b"{}"))
    if "data" in fields:
        found += complaints_about(event_type, data)
    stand_in = Event("", event_type, now, caller, b'{"data":%b}' % data) if event_type and caller is not None else None
    return replace(first, others=tuple(each for each in found if each.field != first.field), stand_in=stand_in)


def _type(fields: Mapping[str, msgspec.Raw]) -> str:
    name = _text(fields, "type")
    if not is_event_type_name(name):
        raise _Invalid(ParkReason.UNKNOWN_TYPE, unknown_type(name), "type")
    return name


def _organization_id(fields: Mapping[str, msgspec.Raw], caller: str | None) -> str:
    organization_id = _text(fields, "organization_id")
    if not ORGANIZATION_ID.fullmatch(organization_id):
        raise _Invalid(ParkReason.BAD_FIELD, f"must match {ORGANIZATION_ID.pattern}", "organization_id")
    if caller is not None and organization_id != caller:
        detail = "must be the organization of the API key, or omitted"
        raise _Invalid(ParkReason.BAD_FIELD, detail, "organization_id", FieldCode.NOT_ALLOWED)
    return organization_id


def _is_test(fields: Mapping[str, msgspec.Raw]) -> bool:
    is_test = _value(fields, "test") if "test" in fields else False
    if not isinstance(is_test, bool):
        raise _Invalid(ParkReason.BAD_FIELD, "must be true or false", "test", FieldCode.WRONG_TYPE)
    return is_test


def _id(fields: Mapping[str, msgspec.Raw], message_id: str | None) -> str:
    event_id = _value(fields, "id") if "id" in fields else message_id
    if event_id is None:
        raise _Invalid(ParkReason.MISSING_ID, "an event needs an 'id' (or its request an Idempotency-Key)", "id")
    if not isinstance(event_id, str) or not EVENT_ID.fullmatch(event_id):
        raise _Invalid(ParkReason.BAD_FIELD, f"must be a string that matches {EVENT_ID.pattern} (no dots)", "id")
    return event_id


def _required(fields: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw:
    try:
        return fields[name]
    except KeyError:
        raise _Invalid(ParkReason.MISSING_FIELD, f"an event needs {name!r}", name) from None


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return _plain.decode(_required(fields, name))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Invalid(ParkReason.BAD_JSON, f"not JSON: {error}", name) from None


def _text(fields: Mapping[str, msgspec.Raw], name: str) -> str:
    value = _value(fields, name)
    if not isinstance(value, str):
        raise _Invalid(ParkReason.BAD_FIELD, "must be a string", name, FieldCode.WRONG_TYPE)
    return value


def _occurred_at(fields: Mapping[str, msgspec.Raw], now: datetime) -> datetime:
    value = _value(fields, "timestamp")
    at = parse_timestamp(value)
    if at is None:
        forms = "ISO 8601 with an offset, RFC 1123, or epoch seconds or milliseconds"
        raise _Invalid(ParkReason.BAD_TIMESTAMP, f"must be {forms}, not {str(value)[:64]!r}", "timestamp")
    if at > now + FUTURE_MAX:
        ahead_seconds = (at - now).total_seconds()
        raise _Invalid(ParkReason.TIMESTAMP_IN_FUTURE, f"is {ahead_seconds:.0f} s in the future", "timestamp")
    return at
