"""Code on pages, with its colours: JSON, and the heads of requests and replies. Every text in it is escaped."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from markupsafe import Markup, escape

from service.web.words import INDENTED_CHARACTERS_MAX, json

_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(:?)|(-?[0-9][0-9.eE+-]*|true|false|null)', re.DOTALL)
"""A text, which is a member's name if a colon follows; or a number, or what stands like one."""


def coloured_json(text: str) -> Markup:
    """JSON with its names, texts and numbers marked for colour, where it is short enough to be indented."""
    if len(text) > INDENTED_CHARACTERS_MAX:
        return escape(json(text))
    return Markup("").join(_coloured(json(text)))


def _coloured(text: str) -> Iterator[Markup]:
    at = 0
    for found in _TOKEN.finditer(text):
        quoted, colon, number = found.groups()
        yield escape(text[at : found.start()])
        if number:
            yield Markup("<var>{}</var>").format(number)
        elif colon:
            yield Markup("<b>{}</b>:").format(quoted)
        else:
            yield Markup("<i>{}</i>").format(quoted)
        at = found.end()
    yield escape(text[at:])


def coloured_headers(headers: Mapping[str, str]) -> Markup:
    """A line for each header."""
    return Markup("\n").join(Markup("<b>{}</b>: {}").format(name, value) for name, value in headers.items())
