"""The little Markdown of an OpenAPI document's descriptions as HTML: paragraphs, lists, tables, code and links."""

import re
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")
_LINK: Final = re.compile(r"\[([^\]]+)\]\(((?:https?://|#|/)[^)\s]*)\)")
_EMPHASIS: Final = re.compile(r"\*\*([^*]+)\*\*")


def text(plain: str) -> Markup:
    """Render a description; everything else in it is text."""
    return Markup("".join(map(_block, filter(None, plain.strip().split("\n\n")))))  # noqa: S704 - escaped in inline


def inline(plain: str) -> Markup:
    """Render code, links and emphasis within one line."""
    pieces = _CODE.split(plain)  # every second one is code, in which nothing else counts
    return Markup("".join(_plain(each) if index % 2 == 0 else _code(each) for index, each in enumerate(pieces)))  # noqa: S704


def _code(piece: str) -> str:
    return f"<code>{escape(piece)}</code>"


def _plain(piece: str) -> str:
    linked = _LINK.sub(r'<a href="\2">\1</a>', str(escape(piece)))
    return _EMPHASIS.sub(r"<strong>\1</strong>", linked)


def _block(block: str) -> str:
    lines = block.splitlines()
    if block.startswith("|"):
        head, _, *rows = (line.strip().strip("|").split("|") for line in lines)
        body = "".join(_row("td", row) for row in rows)
        table = f"<table><thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"
        return f'<div class="scroll" tabindex="0">{table}</div>'
    if all(line.startswith("- ") for line in lines):
        return f"<ul>{''.join(f'<li>{inline(line[2:])}</li>' for line in lines)}</ul>"
    return f"<p>{inline(block)}</p>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(_cell(tag, cell.strip()) for cell in cells)}</tr>"


def _cell(tag: str, cell: str) -> str:
    is_head = tag == "th" and cell  # an empty cell is nothing's heading
    return f'<th scope="col">{inline(cell)}</th>' if is_head else f"<td>{inline(cell)}</td>"
