"""Renders ``/docs``: first steps, what holds for all operations, and each of them."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic_core import to_json

from service.api.documents.page.entries import Tab, entries_of, slot_names
from service.api.documents.page.guide import guide_page
from service.api.documents.page.highlight import highlighted, slot
from service.api.documents.page.markdown import inline, text
from service.api.documents.page.problems import error_codes, field_codes
from service.api.documents.page.references import Document

BASE_URL: Final = "https://base-url.invalid"
"""Stands in a rendered page for the URL at which it is asked for."""

STATIC: Final = {
    "tokens.css": "text/css",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "explorer.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}
"""The files that the page loads, which other pages may load as well, and their types."""

_templates: Final = Environment(
    loader=PackageLoader("service.api.documents.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_EXPORT: Final = re.compile(r"(?<=export )(API_KEY|ENDPOINT_ID|DELIVERY_ID|EVENT_ID)=(\S+)")
"""What the reader sets once in a shell, and may fill in on the page."""
_PROSE: Final = {
    "first-steps": "First steps",
    "signatures": "Signatures",
    "verify": "Verify",
    "rehearse": "Rehearse",
    "answers": "What to answer",
    "retries": "Retries",
    "keys": "Keys",
    "errors": "Errors",
    "idempotency": "Idempotency",
    "changes": "Changes",
    "paging": "Paging",
    "rate-limits": "Rate limits",
    "versions": "Versions",
    "events": "Events",
    "filters": "Filters",
    "streaming": "Streaming",
}
"""The sections before the operations: each anchor, which is also its template's name, and title."""


def docs_page(openapi: Document, *, samples: Mapping[str, Document], verifiers: Mapping[str, str], digest: str) -> str:
    """Render the page; ``BASE_URL`` stands for the server's.

    ``samples`` maps event types to envelopes as delivered, ``verifiers`` languages to programs that check a signature;
    ``digest`` is the SHA-256 of the verifier in one file, in hex. This takes some hundred milliseconds: not for the
    event loop, and once is enough.
    """
    sections = entries_of(openapi, BASE_URL)
    template = _templates.get_template("docs.html")
    return template.render(
        root="",
        version=openapi["info"]["version"],
        info=openapi["info"],
        base_url=BASE_URL,
        prose=_PROSE,
        sections=sections,
        slots=slot_names(sections),
        codes=error_codes(openapi),
        field_codes=field_codes(),
        verifiers=[Tab(language, highlighted(each.strip(), language.lower())) for language, each in verifiers.items()],
        digest=digest,
        samples={name: _json(sample) for name, sample in samples.items()},
        code=_code,
        text=text,
        inline=inline,
    )


def receiving_page(openapi: Document) -> str:
    """Render the guide for receivers, in the same dress; this takes as long."""
    return guide_page(_templates, openapi["info"]["version"])


def static_file(name: str) -> bytes:
    """Read a file of ``STATIC``."""
    return (files("service.api.documents.page") / "static" / name).read_bytes()


def _json(value: object) -> Markup:
    return highlighted(to_json(value, indent=2).decode(), "json")


def _code(markup: Markup, language: str) -> Markup:
    """Code that stands in a template, between ``{% call %}`` tags: what is escaped there is coloured here."""
    code = _EXPORT.sub(lambda found: f"{found[1]}={slot(found[1], found[2])}", markup.unescape().strip("\n"))
    return highlighted(code, language)
