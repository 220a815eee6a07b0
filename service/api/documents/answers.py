"""Answers as the service gave them: ``answers.json`` is of a run of every operation, kept by a test."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


def recorded(operation: str, status: str) -> Any:  # noqa: ANN401 - any JSON
    """What the operation answered with this status; None if it was not brought to do so."""
    return _all().get(operation, {}).get(status)


@cache
def _all() -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        files("service.api.documents").joinpath("answers.json").read_text("utf-8")
    )
    return found
