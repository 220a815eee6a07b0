"""Schemas with a name of their own in the OpenAPI document, and so a type in code that is generated from it."""

from collections.abc import Mapping
from typing import Any, Final

COMPONENT: Final = "x-component"
SCHEMA: Final = "x-schema"


def named(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """For ``WithJsonSchema``: the schema as a component. What a field adds, such as its description, stays outside."""
    return {COMPONENT: name, SCHEMA: schema}
