"""URNs of people in an event's ``data``: who sent a message, who gets it, who reacts, who is in the chat.

A telephone number is ``tel:+`` and E.164. Of digits alone nobody knows the country, and a wrong guess would be somebody
else's number; so they become ``ext:`` and the digits, which no receiver takes for a number to call.
"""

import re
from typing import Final

import msgspec

_DIGITS_ONLY: Final = re.compile("(?:tel:)?([0-9]+)")
_HINT: Final = re.compile(rb'urn"\s*:\s*"(?:tel:(?!\+)|\\u|[0-9])')
"""What ``data`` must contain for any of its URNs to change; nearly always that settles it."""
_OBJECT_HINT: Final = re.compile(rb"\{.*?" + _HINT.pattern, re.DOTALL)
"""What an item of a list must be, and contain, for its URN to change."""
_EACH: Final = ""
_PLACES: Final = (
    ("message", "from", "urn"),
    ("message", "to", "urn"),
    ("message", "reactions", _EACH, "from_urn"),
    ("contact", "urn"),
    ("chat", "participants", _EACH, "urn"),
)

_text_of = msgspec.json.Decoder(str)
_items_of = msgspec.json.Decoder(list[msgspec.Raw])
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def with_plain_urns(data: bytes) -> bytes:
    """The ``data`` of a built-in event type in which no URN is digits only; all else keeps the producer's bytes."""
    if _HINT.search(data) is None:
        return data
    found = msgspec.Raw(data)
    for place in _PLACES:
        found = _changed(found, place)
    return bytes(found)


def plain_urn(urn: str) -> str:
    """The URN; ``ext:`` and its digits if there is nothing else in it, or nothing but ``tel:`` before them."""
    digits = _DIGITS_ONLY.fullmatch(urn)
    return f"ext:{digits[1]}" if digits else urn


def _changed(value: msgspec.Raw, place: tuple[str, ...]) -> msgspec.Raw:
    """The value with the URN at ``place`` in it, if there is one; the value itself where that changes nothing."""
    try:
        if not place:
            text = _text_of.decode(value)
            plain = plain_urn(text)
            return value if plain == text else msgspec.Raw(msgspec.json.encode(plain))
        name, *inner = place
        if name == _EACH:
            return _with_changed_items(value, *inner)
        fields = _fields_of.decode(value)
        if name not in fields:
            return value
        after = _changed(fields[name], tuple(inner))
        return value if after is fields[name] else msgspec.Raw(msgspec.json.encode({**fields, name: after}))
    except (msgspec.DecodeError, RecursionError):  # it is null, or not what it is documented to be
        return value


def _with_changed_items(value: msgspec.Raw, name: str) -> msgspec.Raw:
    """The list with the URN ``name`` of each of its objects changed. Those that may change are decoded in one go."""
    if _HINT.search(value) is None:
        return value
    items = _items_of.decode(value)
    hinted = {place: item for place, item in enumerate(items) if _OBJECT_HINT.match(item)}
    objects = _objects_of.decode(b"[%b]" % b",".join(hinted.values()))
    changed: dict[int, dict[str, msgspec.Raw]] = {}
    for place, fields in zip(hinted, objects, strict=True):
        after = _changed(fields[name], ()) if name in fields else None
        if after is not None and after is not fields[name]:
            changed[place] = {**fields, name: after}
    if not changed:
        return value
    return msgspec.Raw(msgspec.json.encode([changed.get(place, item) for place, item in enumerate(items)]))
