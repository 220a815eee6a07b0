"""Loads what typer prints help with, but not two libraries that it imports beside and needs for nothing of ours.

They are Markdown, which our texts are not, and tracebacks, which we do not have it print. With all that they import
they are more than half of what a help would wait for.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_LOADED: Final = "typer.rich_utils"
_NEVER_USED: Final = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
"""A module, and the class of it that typer imports by name."""


class _NeverUsed:
    """Stands for a class that nobody makes anything of."""

    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - whatever the real one takes
        raise RuntimeError("a help is plain text: do not use Markdown or typer's tracebacks, or load them again")


def load_help() -> None:
    """Load it, once. The two are there for everybody else: only typer has the stand-ins."""
    if _LOADED in sys.modules:
        return
    stand_ins = {}
    for name, class_name in _NEVER_USED.items():
        if name not in sys.modules:
            stand_ins[name] = ModuleType(name)
            setattr(stand_ins[name], class_name, _NeverUsed)
    sys.modules.update(stand_ins)
    try:
        import_module(_LOADED)
    finally:
        for name in stand_ins:
            del sys.modules[name]
