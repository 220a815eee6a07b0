"""A JSON Merge Patch (RFC 7396): what is given by key changes, null removes a key, and the others stay."""

from collections.abc import Mapping
from typing import Any


def merge_patch(before: object, patch: object) -> Any:  # noqa: ANN401 - JSON
    """``before`` with the patch applied. Only objects are merged; anything else is replaced as a whole."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(before) if isinstance(before, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def merge_headers(before: Mapping[str, str], patch: Mapping[str, str | None]) -> Mapping[str, str]:
    """The same for headers, whose names are the same in any case."""
    names = {name.lower(): name for name in before}
    merged: Mapping[str, str] = merge_patch(
        before, {names.get(name.lower(), name): value for name, value in patch.items()}
    )
    return merged
