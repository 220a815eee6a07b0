"""Colours code: keywords, strings, numbers, comments and the keys of objects, with one small pattern for a language.

Slots, which the reader's own values take on the page, pass through it unharmed.
"""

import re
from typing import Final

from markupsafe import Markup, escape

_OPEN, _QUOTED, _SHOWN, _CLOSE = "\ue000", "\ue001", "\ue002", "\ue003"
"""Private characters, which no example has, mark where a slot begins, where its text does, and where it ends."""
_SLOT: Final = re.compile(f"{_OPEN}(\\w+?)({_QUOTED}?){_SHOWN}|{_CLOSE}")
_FOLD, _UNFOLDED, _FOLD_END = "\ue004", "\ue005", "\ue006"
"""The same for a part that is shown on one line until it is opened: the line, then the part, then its end."""
_FOLDS: Final = {
    _FOLD: "<details class=fold><summary>",
    _UNFOLDED: "</summary>",
    _FOLD_END: "</details>",
}

_KEYWORDS: Final = {
    "curl": "export|curl|openssl|posthorn|pip|npm",
    "python": "import|from|as|def|return|try|except|if|else|for|in|not|None|True|False|with|class|raise|async|await",
    "node": "import|from|const|let|await|async|new|throw|if|else|return|function|export|null|true|false|for|of",
    "go": "package|import|func|return|if|err|nil|defer|var|type|struct|range|for|true|false",
    "php": "echo|if|else|throw|new|function|return|use|require|null|true|false",
    "ruby": "require|if|else|end|raise|do|def|puts|unless|nil|true|false",
    "json": "null|true|false",
    "java": "import|class|static|void|final|var|new|throw|throws|if|else|return|public|private|for|byte|String|null",
    "sql": "[A-Z]{2,}",
    "http": "POST|HTTP",
}
_COMMENTS: Final = {
    **dict.fromkeys(("curl", "python", "ruby"), r"(?<![\w$])#.*"),
    **dict.fromkeys(("node", "go", "php", "java"), r"(?<![\w:])//.*"),
    "sql": "--.*",
}
_STRINGS: Final = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\])*'|`[^`]*`"
_PATTERNS: Final = {
    language: re.compile(
        rf"(?P<c>{_COMMENTS.get(language, '(?!)')})"
        rf"|(?P<k>\"[^\"\n]*\"(?=:)|(?<![\w$.\"'/=-])(?:{keywords})(?![\w(]|\.\w))"
        rf"|(?P<s>{_STRINGS})"
        r"|(?P<n>(?<![\w.$-])-?\d[\d_.]*\b)"
    )
    for language, keywords in _KEYWORDS.items()
}


def slot(name: str, shown: str, *, is_quoted: bool = False) -> str:
    """Mark text that the reader's value of this name replaces; ``is_quoted`` where it must become a literal."""
    return f"{_OPEN}{name}{_QUOTED if is_quoted else ''}{_SHOWN}{shown}{_CLOSE}"


def folded(line: str, whole: str) -> str:
    """Mark a part that is shown as the line until the reader opens it."""
    return f"{_FOLD}{line}{_UNFOLDED}{whole}{_FOLD_END}"


def plain(code: str) -> str:
    """The code as it runs, without marks; nothing in it may be folded."""
    return _SLOT.sub("", code)


def highlighted(code: str, language: str) -> Markup:
    """The code as HTML: each token a ``span`` named by its kind's first letter, each slot a ``var``."""
    pattern = _PATTERNS[language]
    parts, end = [], 0
    for found in pattern.finditer(code):
        parts.append(_text(code[end : found.start()]))
        parts.append(f"<span class={found.lastgroup}>{_text(found[0])}</span>")
        end = found.end()
    parts.append(_text(code[end:]))
    text = "".join(parts)
    for character, tag in _FOLDS.items():
        text = text.replace(character, tag)
    return Markup(text)  # noqa: S704 - escaped in _text


def _text(code: str) -> str:
    return _SLOT.sub(_tag, str(escape(code)).replace("&#34;", '"').replace("&#39;", "'"))


def _tag(found: re.Match[str]) -> str:
    if found[1] is None:
        return "</var>"
    return f'<var data-of="{found[1]}"{" data-quoted" if found[2] else ""}>'
