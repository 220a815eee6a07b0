"""The fields of a body or an answer as rows for people, from a JSON Schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.api.documents.page.references import Document, resolved

DEPTH_MAX: Final = 2
"""Deeper tables confuse more than they help."""

_LENGTHS: Final = {
    ("minLength", "maxLength"): "characters",
    ("minItems", "maxItems"): "items",
    ("minProperties", "maxProperties"): "fields",
    ("minimum", "maximum"): "",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body or an answer; ``inner`` are those of the object that it holds."""

    name: str
    kind: str
    is_required: bool
    description: str
    inner: Sequence["Field"] = ()


def fields_of(schema: Document, openapi: Document, *, is_answer: bool = False) -> Sequence[Field]:
    """The fields of an object, required ones first. A body's leave out what only answers have, and the reverse."""
    hidden = "writeOnly" if is_answer else "readOnly"
    return _required_first(_fields(_first_form(schema, openapi), openapi, hidden, 0))


def parameter_field(parameter: Document, openapi: Document) -> Field:
    """A parameter of a path, a query or a header as a row."""
    schema = parameter.get("schema", {})
    text = parameter.get("description") or resolved(schema, openapi).get("description", "")
    return Field(parameter["name"], kind_of(schema, openapi), bool(parameter.get("required")), text)


def kind_of(schema: Document, openapi: Document) -> str:
    """A schema's type in a few words: "string or null, up to 500 characters", "list of strings, 1 to 100 items"."""
    kinds, notes = _kinds_and_notes(schema, openapi)
    default = schema.get("default")
    if isinstance(default, str | int | float) and str(default) not in kinds:
        notes = [*notes, f"default {str(default).lower() if isinstance(default, bool) else default}"]
    return ", ".join([" or ".join(dict.fromkeys(kinds)), *dict.fromkeys(notes)])


def _kinds_and_notes(schema: Document, openapi: Document) -> tuple[list[str], list[str]]:
    found = resolved(schema, openapi)
    choices = found.get("anyOf") or found.get("oneOf") or (found.get("allOf") if "type" not in found else None)
    if choices:
        both = [_kinds_and_notes(each, openapi) for each in choices]
        return [kind for kinds, _ in both for kind in kinds], [note for _, notes in both for note in notes]
    if "enum" in found or "const" in found:
        return ["null" if each is None else str(each) for each in found.get("enum", [found.get("const")])], []
    kinds = found.get("type", "any")
    return [_kind(each, found, openapi) for each in ([kinds] if isinstance(kinds, str) else kinds)], list(_notes(found))


def _kind(kind: str, schema: Document, openapi: Document) -> str:
    if kind != "array":
        return str(schema.get("format", kind)) if kind == "string" else kind
    inner = _kinds_and_notes(schema.get("items", {}), openapi)[0]
    return f"list of {inner[0]}s" if inner in (["string"], ["object"], ["integer"], ["number"]) else "list"


def _notes(schema: Document) -> Iterator[str]:
    """The bounds: "1 to 100 items", "up to 2048 characters", "at least 1"."""
    for (least, most), unit in _LENGTHS.items():
        low, high = schema.get(least), schema.get(most)
        bounds = f"at least {low}" if high is None else f"{low} to {high}" if low else f"up to {high}"
        if low or high is not None:
            yield f"{bounds} {unit}".strip()
    if "exclusiveMinimum" in schema:
        yield f"above {schema['exclusiveMinimum']}"


def _fields(schema: Document, openapi: Document, hidden: str, depth: int) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, raw in schema.get("properties", {}).items():
        found = resolved(raw, openapi)
        if found.get(hidden):
            continue
        inner = inner_object(raw, openapi) if depth < DEPTH_MAX else None
        rows = _required_first(_fields(inner, openapi, hidden, depth + 1)) if inner else ()
        yield Field(name, kind_of(raw, openapi), name in required, found.get("description", ""), rows)


def _required_first(fields: Iterator[Field]) -> Sequence[Field]:
    return sorted(fields, key=lambda field: not field.is_required)  # stable: otherwise as the document has them


def _first_form(schema: Document, openapi: Document) -> Document:
    """The object itself, or the first of several forms, which is the plain one; parts of one are put together."""
    found: Document = resolved(schema, openapi)
    for key in ("oneOf", "anyOf"):
        if found.get(key):
            return _first_form(found[key][0], openapi)
    if "allOf" in found:
        parts = [_first_form(each, openapi) for each in found["allOf"]] + [found]
        properties: dict[str, Any] = {}
        for each in parts:
            properties |= each.get("properties", {})
        return {"properties": properties, "required": [name for each in parts for name in each.get("required", ())]}
    return found


def inner_object(schema: Document, openapi: Document) -> Document | None:
    """The object, or the first of several forms of one, that a field or its list holds; None if it holds none."""
    found: Mapping[str, Any] = resolved(schema, openapi)
    for choice in (found, *found.get("anyOf", ()), *found.get("oneOf", ())):
        each = resolved(choice, openapi)
        each = _first_form(each.get("items", each), openapi)
        if "properties" in each:
            return each
    return None
