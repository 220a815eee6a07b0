"""Every parameter and every field of a body says by a code what is wrong with it; both are found in the document."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jsonschema
import pytest

from service.api.documents.sharing import operations_of, self_contained
from service.core.field_code import FieldCode
from tests.api.entrance_rig import Told
from tests.api.tenancy import Territory, path_of
from tests.api.whole_rig import OTHER_PARTS, Things, Whole, make_things, whole_on

pytestmark = pytest.mark.clock

WRONG: Final[Sequence[Any]] = ([], {}, 1.5, True, "", "\x00", -1, [{}], None)
"""A value of each kind; of a field those are sent that its schema is against."""
NOT_COMPARED: Final = {("patch", "health"), ("patch", "schedule")}
"""Read-only, and changes by itself or with ``retry``: whatever is sent back is passed over."""
BESIDE: Final = {("/v1/events", "events")}
"""With it the body is another one: a batch, which test_publish sends."""
DEPTH_MAX: Final = 2


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url) as whole:
        yield whole
        assert not whole.troubles.heard


async def operations_with_paths(whole: Whole, things: Things) -> Sequence[tuple[str, str, str, Mapping[str, Any], Any]]:
    """Method, template, path, operation and components of each operation of /v1."""
    async with whole.client.get("/openapi.json") as reply:
        document = await reply.json()
    territory = Territory(owned=things.by_template, shared=OTHER_PARTS)
    found = []
    for template, method, operation in operations_of(self_contained(document)):
        if template.startswith("/v1/"):
            found.append((method, template, path_of(template, territory), operation, document["components"]))
    return found


def complaint(told: Told, field: str, *, is_exact: bool = False) -> str:
    """What is wrong with an answer that should refuse the field; "" if nothing is."""
    is_check = told.status == 200 and told.json.get("is_valid") is False  # which answers what another would refuse
    if not is_check and (told.status != 400 or told.json["code"] != "VALIDATION_ERROR"):
        return f"{told.status} {told.body[:200]!r}"
    errors, codes = told.json.get("errors", {}), told.json.get("codes", {})
    of_field = [
        each for each in codes if each == field or (not is_exact and re.match(re.escape(field) + r"[.\[]", each))
    ]
    if errors.keys() != codes.keys() or not of_field:
        return f"names {errors}"
    if not is_check and not re.search(r"/docs#error-validation-error$", told.json.get("doc_url", "")):
        return "has no doc_url"
    if any(codes[each] == FieldCode.INVALID or codes[each] not in set(FieldCode) for each in of_field):
        return f"has no code of its own: {errors}"
    return ""


def wrong_texts(schema: Mapping[str, Any]) -> Iterator[str]:
    """Values of a parameter that cannot be right."""
    kinds = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    kinds += [each["items"] for each in kinds if "items" in each]
    yield "a\x00b"
    if any({"enum", "pattern", "format"} & each.keys() or each.get("type") in {"integer", "boolean"} for each in kinds):
        yield "no-such value"
    if any("items" in each for each in kinds):
        yield ",".join(f"x{n}" for n in range(1000))
    if any("maxLength" in each for each in kinds):
        yield "x" * 5_000
    for each in kinds:
        if "maximum" in each:
            yield str(each["maximum"] + 1)
            yield "9" * 40


async def test_each_query_parameter_has_a_code(whole: Whole) -> None:
    things = await make_things(whole)
    found, asked = {}, 0
    for method, template, path, operation, _ in await operations_with_paths(whole, things):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        sent = {"json": content["example"]} if content is not None else {}
        for parameter in operation["parameters"]:
            if parameter["in"] != "query":
                continue
            name = parameter["name"]
            for text in wrong_texts(parameter["schema"]):
                told = await whole.ask(method.upper(), path, params={name: text}, **sent)
                asked += 1
                if why := complaint(told, name, is_exact=True):
                    found[method, template, name, text[:20]] = why
            told = await whole.ask(method.upper(), path, params=[(name, "1"), (name, "1")], **sent)
            if told.status != 400 or "is given more than once" not in told.json["errors"].get(name, ()):
                found[method, template, name, "twice"] = f"{told.status} {told.body!r}"
        told = await whole.ask(method.upper(), path, params={"nonsense": "1"}, **sent)
        takes_none = not [each for each in operation["parameters"] if each["in"] == "query"]
        if not takes_none and (why := complaint(told, "nonsense", is_exact=True)):
            found[method, template, "nonsense", ""] = why
    assert found == {}
    assert asked > 150


def fields_in(
    schema: Mapping[str, Any],
    components: Any,
    at: tuple[str, ...] = (),
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[tuple[tuple[str, ...], Any, Mapping[str, Any]]]:
    """The path and the schema of each field of a body, and what its kind of object must have beside it."""
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rpartition("/")[2]]
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from fields_in(each, components, at, beside)
    fields = schema.get("properties", {})
    needed = {name: fields[name] for name in schema.get("required", ()) if name in fields}
    kind = {name: each.get("const", each.get("examples", ["x"])[0]) for name, each in needed.items()}
    for name, inner in fields.items():
        yield (*at, name), inner, kind if at else {}
        if len(at) < DEPTH_MAX:
            yield from fields_in(inner, components, (*at, name))


async def test_each_field_of_a_body_has_a_code(whole: Whole) -> None:
    things = await make_things(whole)
    found, asked = {}, 0
    for method, template, path, operation, components in await operations_with_paths(whole, things):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            continue
        for parts, schema, beside in fields_in(body["schema"], components):
            field = ".".join(parts)
            validator = jsonschema.Draft202012Validator({**schema, "components": components})
            if (method, parts[-1]) in NOT_COMPARED or (template, parts[0]) in BESIDE:
                continue
            for value in WRONG:
                if "\x00" not in str(value) and validator.is_valid(value):
                    continue
                told = await whole.ask(method.upper(), path, json=with_value(body["example"], parts, value, beside))
                asked += 1
                # An event with such a text is refused before anything is looked for in it.
                named = "event" if template == "/v1/events" and value == "\x00" else field
                if why := complaint(told, named):
                    found[method, template, field, repr(value)] = why
    assert found == {}
    assert asked > 300


def with_value(
    example: Mapping[str, Any], parts: Sequence[str], value: object, beside: Mapping[str, Any]
) -> dict[str, Any]:
    """The example with another value at a path."""
    name, *rest = parts
    if not rest:
        return {**example, **beside, name: value}
    inner = example.get(name)
    return {**example, name: with_value(inner if isinstance(inner, dict) else {}, rest, value, beside)}
