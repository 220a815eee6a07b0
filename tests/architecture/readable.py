"""Reading Markdown, as far as the tests need it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True, slots=True)
class Example:
    """A fenced block, and where it stands."""

    document: str
    line: int
    text: str


def examples(paths: Sequence[Path], root: Path, language: str) -> list[Example]:
    """The fenced blocks of a language."""
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            if fence[2] == language:
                line = text.count("\n", 0, fence.start()) + 1
                found.append(Example(str(path.relative_to(root)), line, fence[3]))
    return found


def links(text: str) -> list[str]:
    """The targets of links that lead to files here."""
    prose = _CODE.sub("`", _FENCE.sub("", text))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """What a link can point to after its #."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
