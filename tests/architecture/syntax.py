"""Syntax trees of files."""

import ast
import gc


def parse(text: str) -> ast.Module:
    """Parse without the garbage collector: on Python 3.11, one that runs meanwhile can fail the parser (gh-106905)."""
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        gc.enable()
