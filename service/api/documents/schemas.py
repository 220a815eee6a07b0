"""The schemas of the OpenAPI document: those of the models, under the names that clients see in generated code.

Generators make a type of each component, so whatever has a meaning of its own is one, and what only pydantic says
(a title for each field, ``null`` as a default that nobody should send) is left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.api.component import COMPONENT, SCHEMA
from service.api.operation import Operation
from service.api.problem import Problem

Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{model}"
_PAGE: Final = re.compile(r"Page_(\w+)_")
_NAMES: Final = {
    "ClauseShown": "FilterClause",
    "ClicksShown": "MessageClicks",
    "Code": "ErrorCode",
    "DeliveryItem": "Delivery",
    "DeliveryShown": "DeliveryWithAttempts",
    "ErrorShown": "MessageError",
    "EventItem": "Event",
    "EventTypeAnswer": "EventType",
    "GateShown": "EndpointGate",
    "HealthShown": "EndpointHealth",
    "KeyShown": "KeyInUse",
    "OutcomeKind": "Outcome",
    "PublishedEnvelope": "NewEvent",
    "ReactionShown": "MessageReaction",
    "ReplyShown": "MessageReply",
    "RequestShown": "AttemptRequest",
    "Rotation": "SecretRotation",
    "SecretShown": "SigningSecret",
    "Skipped": "ReplaySkipped",
    "State": "DeliveryState",
}
"""Names that differ from the class's; ``Shown`` at the end of a class's name is left out anyway."""

_OF_ONE: Final = {"items", "additionalProperties", "propertyNames", "contains", "not"}
_OF_MANY: Final = {"anyOf", "oneOf", "allOf", "prefixItems"}
_BY_NAME: Final = {"properties", "patternProperties", "$defs"}


def reference(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": _REFERENCE.format(model=name)}


def referred(found: Mapping[str, Any]) -> str:
    """The name of the component that a reference leads to."""
    return str(found["$ref"]).rpartition("/")[2]


class Schemas:
    """All components, by name. ``written`` are schemas of things that have no model."""

    def __init__(self, operations: Iterable[Operation], written: Mapping[str, Schema]) -> None:
        operations = list(operations)
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
        for each in operations:
            wanted += [(model, "validation") for model in (_body_model(each), each.query) if model is not None]
            wanted += [(model, "serialization") for model in each.answers.values() if model is not None]
        self._by_model, definitions = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REFERENCE)
        self.components: dict[str, Schema] = {}
        queries = {each.query for each in operations}
        self._queries: dict[type[BaseModel], Schema] = {}
        made = definitions.get("$defs", {})
        for model, mode in wanted:  # a query's model is shown as parameters, not as an object
            if model in queries and (found := made.pop(referred(self._by_model[model, mode]), None)):
                self._queries[model] = found
        for name, schema in {**made, **written}.items():
            self._add(public_name(name), self.plain(schema))
        self._mark_read_only(operations)

    def answer(self, model: type[BaseModel]) -> Schema:
        """A reference to the schema of an answer."""
        return self.plain(self._by_model[model, "serialization"])

    def body(self, operation: Operation) -> Schema:
        """The schema of a body, by reference where it has a model."""
        model = _body_model(operation)
        if model is not None:
            return self.plain(self._by_model[model, "validation"])
        written: Any = operation.body_schema
        return self.plain(written)

    def parameters(self, query: type[BaseModel]) -> list[Schema]:
        """A query's fields as parameters."""
        schema = self._queries[query]
        required = schema.get("required", ())
        found = []
        for name, whole in schema.get("properties", {}).items():
            plain = _without_null(self.plain(whole))
            parameter = {"name": name, "in": "query", "required": name in required}
            if "description" in plain:
                parameter["description"] = plain.pop("description")
            if "examples" in plain:
                parameter["example"] = plain.pop("examples")[0]
            if plain.get("type") == "array":
                parameter |= {"style": "form", "explode": False}  # one parameter, its values separated by commas
            found.append(parameter | {"schema": plain})
        return found

    def plain(self, schema: Mapping[str, Any]) -> Schema:
        """The schema as it is shown; ``named`` parts become components."""
        if COMPONENT in schema:
            self._add(schema[COMPONENT], self.plain(schema[SCHEMA]))
            beside = {key: value for key, value in schema.items() if key not in {COMPONENT, SCHEMA}}
            return self.plain({**reference(schema[COMPONENT]), **beside})
        found: Schema = {}
        for key, value in schema.items():
            if key == "$ref":
                found[key] = _REFERENCE.format(model=public_name(referred(schema)))
            elif key in _BY_NAME:
                found[key] = {name: self.plain(each) for name, each in value.items()}
            elif key in _OF_ONE and isinstance(value, Mapping):
                found[key] = self.plain(value)
            elif key in _OF_MANY:
                found[key] = [self.plain(each) for each in value]
            elif key != "title" and not (key == "default" and value is None):
                found[key] = value
        if found.get("type") == "object" and not found.keys() & {"properties", "additionalProperties"}:
            found["additionalProperties"] = True  # else some generators make a type without any key
        values = found.get("enum", [found["const"]] if "const" in found else [])
        if "type" not in found and values and all(isinstance(each, str) for each in values):
            found["type"] = "string"
        return found

    def _add(self, name: str, schema: Schema) -> None:
        if self.components.setdefault(name, schema) != schema:
            raise ValueError(f"two different schemas are called {name}")

    def _mark_read_only(self, operations: Iterable[Operation]) -> None:
        """Mark the fields of a thing that nobody can set, neither when it is made nor later."""
        settable: dict[str, set[str]] = {}
        for each in operations:
            model = _body_model(each)
            if model is None or not (each.method in {"PATCH", "PUT"} or "{" not in each.path):
                continue  # an action's body is about the action
            for answer in each.answers.values():
                if answer is not None:
                    settable.setdefault(referred(self.answer(answer)), set()).update(_fields(model))
        for name, names in settable.items():
            for field, schema in self.components[name].get("properties", {}).items():
                if field not in names:
                    schema["readOnly"] = True


def public_name(name: str) -> str:
    """What a class or a page of them is called in the document."""
    page = _PAGE.fullmatch(name)
    if page is not None:
        return f"{public_name(page[1])}Page"
    return _NAMES.get(name) or name.removesuffix("Shown")


def _fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _body_model(operation: Operation) -> type[BaseModel] | None:
    described = operation.body_schema
    return operation.body or (described if isinstance(described, type) else None)


def _without_null(schema: Schema) -> Schema:
    """Drop the null alternative: an omitted parameter is None in the model, but a query string cannot carry null."""
    choices: list[Schema] = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {key: value for key, value in schema.items() if key != "anyOf"} | choices[0]
