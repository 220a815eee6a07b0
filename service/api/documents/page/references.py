"""Reads an OpenAPI document: follows its references, and goes through its operations."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Document = Mapping[str, Any]

METHODS: Final = ("get", "put", "post", "delete", "patch")

_DEPTH_MAX: Final = 20


def resolved(found: Any, openapi: Document) -> Any:  # noqa: ANN401 - JSON
    """Follow ``$ref`` to what it names; what stands beside it, such as a description, is kept.

    Raises ``ValueError`` for references that lead in a circle.
    """
    for _ in range(_DEPTH_MAX):
        if not isinstance(found, Mapping) or "$ref" not in found:
            return found
        target: Any = openapi
        for part in str(found["$ref"]).removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        found = dict(target) | {key: value for key, value in found.items() if key != "$ref"}
    raise ValueError(f"{found['$ref']} leads in a circle")


def operations_of(openapi: Document) -> Iterator[tuple[str, str, Document]]:
    """Yield each operation with its path and its method, in the document's order; shared parameters come first."""
    for path, item in openapi["paths"].items():
        for method in item:
            if method in METHODS:
                shared = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                yield path, method.upper(), {**item[method], "parameters": [resolved(each, openapi) for each in shared]}


def json_content(holder: Document) -> Document:
    """What a body or an answer holds as JSON, whatever its media type is called; empty if it holds none."""
    contents: Mapping[str, Document] = holder.get("content", {})
    plain = contents.get("application/json")
    return plain or next((each for name, each in contents.items() if "json" in name), {})


def example_of(content: Document, openapi: Document) -> Any:  # noqa: ANN401 - JSON
    """The first example that the document gives for this content; None without one."""
    if "example" in content:
        return content["example"]
    for each in content.get("examples", {}).values():
        return resolved(each, openapi).get("value")
    return None
