"""Templates and the files beside them. What anybody else wrote is text: every value is escaped."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.core.events.registry import BUILT_IN
from service.web import charts, words
from service.web.code import coloured_json

STATIC: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "htmx.min.js": "text/javascript",
}
"""The files that every page loads, beside the tokens of /docs, and their types."""


def static_file(name: str) -> bytes:
    """Read a file of ``STATIC``."""
    return (files("service.web") / "static" / name).read_bytes()


def _version(name: str) -> str:
    return hashlib.sha256(static_file(name)).hexdigest()[:12]


_templates: Final = Environment(
    loader=PackageLoader("service.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_templates.filters |= {**words.FILTERS, "coloured_json": coloured_json}
_templates.globals |= {"chart_of": charts.chart_of, "sparkline_of": charts.sparkline_of}
_templates.globals["built_in_types"] = BUILT_IN
_templates.globals["versions"] = {name: _version(name) for name in STATIC}


def compile_all() -> None:
    """Compile every template, so that no visitor waits for it: half a second together, a tenth for the first page."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def render(template: str, context: Mapping[str, Any]) -> str:
    """Render a page; ``now`` is added, so that all times on it are relative to the same instant."""
    return _templates.get_template(template).render(now=datetime.now(UTC), **context)
