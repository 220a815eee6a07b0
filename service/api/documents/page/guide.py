"""The guide for receivers, docs/receiving.md, as a page: text on the left, the code that it is about beside it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from service.api.documents.page.highlight import highlighted

_LANGUAGES: Final = {
    "sh": ("Shell", "curl"),
    "python": ("Python", "python"),
    "js": ("Node", "node"),
    "go": ("Go", "go"),
    "php": ("PHP", "php"),
    "ruby": ("Ruby", "ruby"),
    "java": ("Java", "java"),
    "sql": ("SQL", "sql"),
    "json": ("JSON", "json"),
    "http": ("HTTP", "http"),
    "text": ("Terminal", "http"),
}
"""What a block is called, and how it is coloured."""


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code."""

    label: str
    code: Markup


@dataclass(slots=True)
class Row:
    """Text, and the code that follows it. With ``begins_with_code`` the code comes right below a heading."""

    text: Markup = field(default_factory=Markup)
    codes: list[Code] = field(default_factory=list)
    begins_with_code: bool = False


@dataclass(slots=True)
class Section:
    """What stands below a heading of the second level, and the address of that heading."""

    anchor: str
    title: str
    rows: list[Row] = field(default_factory=list)


def guide_page(templates: Environment, version: str) -> str:
    """Render the page; like the other one it takes too long for the event loop, and once is enough."""
    title, sections = sections_of(_source())
    template = templates.get_template("guide.html")
    return template.render(root="../", version=version, title=title, sections=sections)


def sections_of(source: str) -> tuple[str, Sequence[Section]]:
    """The title of a guide in Markdown, and its sections. Raises ValueError if it does not begin with a title."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _inner_code)
    tokens = markdown.parse(source)
    if [each.type for each in tokens[:3]] != ["heading_open", "inline", "heading_close"]:
        raise ValueError("a guide begins with its title")
    title = tokens[1].content
    sections = [Section("introduction", title, [Row()])]
    for part in _parts(tokens[3:]):
        first = part[0]
        if first.type == "fence":
            row = sections[-1].rows[-1]
            row.begins_with_code |= row.text.endswith(("</h2>\n", "</h3>\n"))
            row.codes.append(_code(first))
            continue
        if first.type == "heading_open":
            anchor = anchor_of(part[1].content)
            if first.tag == "h2":
                first.attrSet("id", f"{anchor}-title")
                sections.append(Section(anchor, part[1].content))
            else:
                first.attrs |= {"id": anchor, "class": "step"}
        rows = sections[-1].rows
        if first.type == "heading_open" or (rows[-1].codes and not rows[-1].begins_with_code):
            rows.append(Row())
        row = rows[-1]
        row.text += Markup(markdown.renderer.render(_linked(part), markdown.options, {}))  # noqa: S704 - no HTML passes
    return title, sections


def anchor_of(title: str) -> str:
    """The address of a heading, as sites that show Markdown make it: links of the file work on the page."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _code(fence: Token) -> Code:
    label, language = _LANGUAGES[fence.info.split()[0]]
    return Code(label, highlighted(fence.content.rstrip("\n"), language))


def _inner_code(_: object, tokens: Sequence[Token], index: int, *__: object) -> str:
    """Code within a list, which stays there; it can be scrolled by keyboard, as the other can."""
    return f'<pre tabindex="0"><code>{_code(tokens[index]).code}</code></pre>\n'


def _parts(tokens: Iterable[Token]) -> Iterable[list[Token]]:
    """The blocks that stand beside each other: paragraphs, lists, tables, headings, code."""
    part: list[Token] = []
    for token in tokens:
        part.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield part
            part = []


def _linked(part: list[Token]) -> list[Token]:
    """The same without links to files of the repository, which are not served; their text stays."""
    for token in part:
        is_kept, kept = True, []
        for child in token.children or ():
            if child.type == "link_open":
                is_kept = str(child.attrGet("href")).startswith(("#", "https://"))
            if is_kept or not child.type.startswith("link_"):
                kept.append(child)
        if token.children is not None:
            token.children = kept
    return part


@cache
def _source() -> str:
    beside = files("service.api.documents.page") / "receiving.md"  # in a wheel; in a checkout it is in docs
    path = beside if beside.is_file() else Path(__file__).resolve().parents[4] / "docs" / "receiving.md"
    return path.read_text("utf-8")
