"""Writes JSON values as literals of other languages, broken into lines where they would be too long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from service.api.documents.page.highlight import folded

WIDTH: Final = 60


@dataclass(frozen=True, slots=True)
class Style:
    """How a language writes objects, lists and constants. ``key`` formats the quoted and the bare name of a field."""

    key: str
    indent: str = "    "
    brackets: tuple[str, str] = ("{", "}")
    is_padded: bool = False
    """Whether there are spaces inside the brackets of an object on one line."""
    has_last_comma: bool = True
    empty: str = "{}"
    null: str = "null"
    true: str = "true"
    false: str = "false"


JSON: Final = Style('"{0}": ', indent="  ", has_last_comma=False)
PYTHON: Final = Style('"{0}": ', null="None", true="True", false="False")
NODE: Final = Style("{1}: ", indent="  ", is_padded=True)
PHP: Final = Style('"{0}" => ', brackets=("[", "]"), empty="new stdClass()")
RUBY: Final = Style('"{0}" => ', indent="  ", is_padded=True, has_last_comma=False, null="nil")


def literal(value: object, style: Style, margin: str = "", *, used: int = 0) -> str:
    """Write the value; ``margin`` is the indentation of its line, and ``used`` what stands before it there."""
    if not isinstance(value, Mapping | Sequence) or isinstance(value, str) or not value:
        return _plain(value, style)
    line = _on_one_line(value, style)
    if len(margin) + used + len(line) <= WIDTH:
        return line
    deeper = margin + style.indent
    if isinstance(value, Mapping):
        opening, closing = style.brackets
        named = [(_key(name, style), each) for name, each in value.items()]
        rows = [f"{key}{literal(each, style, deeper, used=len(key))}" for key, each in named]
    else:
        opening, closing = ("[", "]")
        rows = [literal(each, style, deeper) for each in value]
    text = ",\n".join(f"{deeper}{row}" for row in rows) + ("," if style.has_last_comma else "")
    return f"{opening}\n{text}\n{margin}{closing}"


def _on_one_line(value: object, style: Style) -> str:
    if isinstance(value, Mapping) and value:
        opening, closing = style.brackets
        inner = ", ".join(f"{_key(name, style)}{_on_one_line(each, style)}" for name, each in value.items())
        return f"{opening} {inner} {closing}" if style.is_padded else f"{opening}{inner}{closing}"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return f"[{', '.join(_on_one_line(each, style) for each in value)}]"
    return _plain(value, style)


def _key(name: str, style: Style) -> str:
    quoted = to_json(name).decode()
    return style.key.format(quoted[1:-1], name if name.isidentifier() else quoted)


def _plain(value: object, style: Style) -> str:
    if value is None:
        return style.null
    if isinstance(value, bool):
        return style.true if value else style.false
    if isinstance(value, Mapping):
        return style.empty
    text = to_json(value).decode()
    if style is PHP:
        return text.replace("$", "\\$")  # begins a variable, also within quotes
    return text.replace("#", "\\#") if style is RUBY else text  # begins code


def folded_json(value: object, margin: str = "", depth: int = 0) -> str:
    """An answer as JSON: what is inside its fields, and needs lines of its own, is one line until it is opened.

    The ``data`` of a list is open, and so is a single field; what their items hold is folded.
    """
    if not isinstance(value, Mapping | list) or not value or len(margin) + len(_on_one_line(value, JSON)) <= WIDTH:
        return literal(value, JSON, margin)
    deeper = margin + JSON.indent
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"{deeper}{folded_json(each, deeper, depth)}" for each in value) + f"\n{margin}]"
    wide = {name for name, each in value.items() if literal(each, JSON, deeper, used=len(name) + 4).count("\n")}
    rows = []
    for name, each in value.items():
        is_open = name not in wide or (depth == 0 and (len(wide) == 1 or name == "data"))
        whole = folded_json(each, deeper, depth + 1) if is_open else literal(each, JSON, deeper)
        rows.append(f"{deeper}{_key(name, JSON)}{whole if is_open else folded(_summary(each), whole)}")
    return "{\n" + ",\n".join(rows) + f"\n{margin}}}"


def _summary(value: object) -> str:
    """The first field of an object, or the first item of a list, on one line."""
    if isinstance(value, list):
        return f"[{_summary(value[0])}]" if isinstance(value[0], Mapping | list) and value[0] else "[…]"
    if not isinstance(value, Mapping):
        return "…"
    name, first = next(iter(value.items()))
    is_short = not isinstance(first, Mapping | list) and len(_plain(first, JSON)) <= WIDTH // 2
    return f"{{{_key(name, JSON)}{_plain(first, JSON) if is_short else '…'}, …}}"
