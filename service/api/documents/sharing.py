"""What operations share in an OpenAPI document: stated once and referred to; for some readers, put in place again."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

Document = Mapping[str, Any]

_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_INLINED: Final = ("parameters", "responses", "headers")


def share_parameters(document: dict[str, Any]) -> None:
    """Move each parameter that several operations have into the components."""
    operations = [each for _, _, each in operations_of(document)]
    counts = Counter(to_json(each) for operation in operations for each in operation["parameters"])
    shared: dict[str, Any] = document["components"]["parameters"]
    for operation in operations:
        for index, each in enumerate(operation["parameters"]):
            if "name" in each and counts[to_json(each)] > 1:
                name = _free_name(each, operation["tags"][0], shared)
                shared[name] = each
                operation["parameters"][index] = {"$ref": f"#/components/parameters/{name}"}


def operations_of(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of each."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def prune(document: dict[str, Any]) -> None:
    """Leave out the components that nothing refers to."""
    components = document["components"]
    used: set[tuple[str, str]] = set()
    waiting = [document["paths"], document["webhooks"]]
    while waiting:
        for reference in references_in(waiting.pop()):
            _, _, kind, name = reference.split("/")
            if (kind, name) not in used:
                used.add((kind, name))
                waiting.append(components[kind][name])
    for kind in ("schemas", "responses", "parameters", "headers"):
        components[kind] = {name: each for name, each in components[kind].items() if (kind, name) in used}


def references_in(value: object) -> Iterator[str]:
    """Every reference in a part of the document."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for name, each in value.items():
            if name != "mapping":
                yield from references_in(each)
            else:
                yield from each.values()
    elif isinstance(value, list):
        for each in value:
            yield from references_in(each)


def self_contained(document: Document) -> dict[str, Any]:
    """The document with its parameters, responses and headers in place, for readers that do not follow references.

    Schemas stay referred to.
    """
    components = document["components"]

    def whole(value: Any) -> Any:  # noqa: ANN401 - any part of the document
        if isinstance(value, Mapping):
            _, _, kind, name = [*str(value.get("$ref", "///")).split("/"), "", "", ""][:4]
            if kind in _INLINED:
                return whole(components[kind][name])
            return {key: whole(each) for key, each in value.items()}
        return [whole(each) for each in value] if isinstance(value, list) else value

    return {**document, "paths": whole(document["paths"]), "webhooks": whole(document["webhooks"])}


def _free_name(parameter: Document, tag: str, taken: Mapping[str, Any]) -> str:
    """A name for the parameter; what another one is called is preceded by the tag."""
    name = camel(parameter["name"])
    return name if taken.get(name, parameter) == parameter else camel(f"{tag} {parameter['name']}")


def camel(text: str) -> str:
    """The words of a name as ``CamelCase``."""
    return "".join(f"{word[0].upper()}{word[1:]}" for word in _WORD.findall(text.replace("_", " ")))
