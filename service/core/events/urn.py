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
            items = _items_of.decode(value)
            changed = [_changed(item, tuple(inner)) for item in items]
            is_same = all(before is after for before, after in zip(items, changed, strict=True))
            return value if is_same else msgspec.Raw(msgspec.json.encode(changed))
        fields = _fields_of.decode(value)
        if name not in fields:
            return value
        after = _changed(fields[name], tuple(inner))
        return value if after is fields[name] else msgspec.Raw(msgspec.json.encode({**fields, name: after}))
    except (msgspec.DecodeError, RecursionError):  # it is null, or not what it is documented to be
        return value
