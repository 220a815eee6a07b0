"""The documentation and the explorer: static pages, kept by browsers, whose policy forbids any other origin."""

import html
import re
from importlib.resources import files
from string import Template
from typing import Final

from aiohttp import web

from service.api.documents.page.highlight import highlighted
from service.api.documents.served import Served
from service.api.v2.refusal import NOT_FOUND, refusal
from service.api.validation import JSON

RESOURCE_PAGES: Final = ("resthooks", "resthook_subscribers", "resthook_events")
"""The documented resources; each page has the name of its path."""

_TITLES: Final = {
    "root": "Posthorn API v2",
    "resthooks": "Resthooks",
    "resthook_subscribers": "Resthook subscribers",
    "resthook_events": "Resthook events",
    "explorer": "API explorer",
}
_FILES: Final = {"explorer.js": "text/javascript"}
_HERE: Final = ' aria-current="page"'
HTML: Final = "text/html"
_JSON: Final = re.compile(r"<pre>([^<]*)</pre>")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


class Pages:
    """The pages, read from their files once; their stylesheets are those of ``/docs``."""

    def __init__(self) -> None:
        place = files("service.api.v2") / "html"
        layout = Template((place / "layout.html").read_text("utf-8"))
        mark = (place / "mark.html").read_text("utf-8").strip()
        self._pages = {
            name: Served.of(
                layout.substitute(
                    title=title,
                    root=_root(name),
                    mark=mark,
                    links=_links(name),
                    content=_coloured((place / f"{name}.html").read_text("utf-8")),
                ).encode(),
                HTML,
            )
            for name, title in _TITLES.items()
        }
        self._files = {name: Served.of((place / name).read_bytes(), each) for name, each in _FILES.items()}

    def page(self, name: str, request: web.Request) -> web.Response:
        """Return a page, or that the caller has it already."""
        return self._pages[name].answer(request, **_HEADERS)

    def file(self, name: str, request: web.Request) -> web.Response:
        """Return a file that pages load, or that the caller has it already. Raises ``RefusalError`` (404)."""
        if name not in self._files:
            raise refusal(404, NOT_FOUND)
        return self._files[name].answer(request)


def _root(name: str) -> str:
    """The way from a page to the surface's root."""
    return "../" if name == "explorer" else "./"


def _links(current: str) -> str:
    """The contents, with the page that they are shown on marked."""
    places = {"root": "", "explorer": "explorer/"}
    return "\n".join(
        f'<li><a href="{_root(current)}{places.get(name, name)}"{_HERE if name == current else ""}>'
        f"{_TITLES[name]}</a></li>"
        for name in _TITLES
    )


def _coloured(content: str) -> str:
    """The page's text, with its JSON coloured as it is in ``/docs``."""

    def colour(found: re.Match[str]) -> str:
        return f'<pre tabindex="0">{highlighted(html.unescape(found[1]), "json")}</pre>'

    return _JSON.sub(colour, content)


def prefers_html(request: web.Request) -> bool:
    """Whether the caller prefers HTML to JSON; ``*/*`` counts as HTML."""
    accept = ",".join(request.headers.getall("Accept", [])) or "*/*"
    return _rank(accept, HTML) >= _rank(accept, JSON)


def is_acceptable(request: web.Request, *media_types: str) -> bool:
    """Whether the caller takes one of them, as Django REST framework reads Accept: quality is not looked at."""
    accept = ",".join(request.headers.getall("Accept", [])).strip() or "*/*"
    ranges = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return any(ranges & {each, f"{each.partition('/')[0]}/*", "*/*"} for each in media_types)


def _rank(accept: str, media_type: str) -> tuple[float, int]:
    """Rank a media type by its quality, then by how specifically it is named."""
    ranges = {media_type: 2, f"{media_type.partition('/')[0]}/*": 1, "*/*": 0}
    best = (0.0, 0)
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = _quality(parameters) if name in ranges else 0.0
        if quality > 0:  # zero means not acceptable
            best = max(best, (quality, ranges[name]))
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
