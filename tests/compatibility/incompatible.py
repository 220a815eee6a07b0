"""What in one OpenAPI document breaks clients that were written for another one. Pure: two documents in, sentences out.

What a client sends must still be taken, so a request may only become wider. What it is answered must still be there,
so an answer may only gain fields, and values of an enum, which clients pass over (docs/api-versions.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

_METHODS: Final = {"get", "put", "post", "delete", "patch", "head", "options"}
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_TYPE_OF: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_EVERY_TYPE: Final = frozenset({"string", "boolean", "number", "integer", "null", "array", "object"})


def incompatibilities(old: Document, new: Document) -> list[str]:
    """Every change that breaks a client of ``old``, each as a sentence that begins with its place."""
    return [*_Comparison(old, new).all()]


@dataclass(frozen=True)
class _Pair:
    """Two schemas at the same place; ``is_sent`` by the client, or by the service."""

    at: str
    old: Schema
    new: Schema
    is_sent: bool


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new
        self._within: set[tuple[str, str, bool]] = set()

    def all(self) -> Iterator[str]:
        for part in ("paths", "webhooks"):
            for path, methods in self._old.get(part, {}).items():
                for method in methods.keys() & _METHODS:
                    at = f"{method.upper()} {path}" if part == "paths" else path
                    new = self._new.get(part, {}).get(path, {}).get(method)
                    if new is None:
                        yield f"{at}: is gone"
                    else:
                        yield from self._operation(at, methods[method], new, is_webhook=part == "webhooks")
        names = [each.get("components", {}).get("schemas", {}).keys() for each in (self._old, self._new)]
        yield from (f"the type {name}: is gone, or has another name" for name in sorted(names[0] - names[1]))

    def _operation(self, at: str, old: Document, new: Document, *, is_webhook: bool) -> Iterator[str]:
        """A webhook is sent by the service: its headers and its body are what a client gets."""
        if old.get("operationId") != new.get("operationId"):
            yield f"{at}: was called {old.get('operationId')}"
        yield from self._security(at, old, new)
        yield from self._parameters(at, old, new, is_webhook=is_webhook)
        before, after = self._body(self._old, old), self._body(self._new, new)
        if after.get("required") and not before.get("required") and not is_webhook:
            yield f"{at}: needs a body"
        yield from self._content(f"{at}, body", before, after, is_sent=not is_webhook)
        if not is_webhook:
            yield from self._answers(at, old, new)

    def _security(self, at: str, old: Document, new: Document) -> Iterator[str]:
        before, after = old.get("security", self._old.get("security")), new.get("security", self._new.get("security"))
        if after and not before:
            yield f"{at}: needs a key"
        gone = {name for each in before or () for name in each} - {name for each in after or () for name in each}
        if after:
            yield from (f"{at}: cannot be asked with {name} any more" for name in sorted(gone))

    def _parameters(self, at: str, old: Document, new: Document, *, is_webhook: bool) -> Iterator[str]:
        before, after = self._named(self._old, old), self._named(self._new, new)
        for key, parameter in before.items():
            place = f"{at}, {key[0]} {key[1]}"
            if key not in after:
                yield f"{place}: is gone"
                continue
            if is_webhook and parameter.get("required") and not after[key].get("required"):
                yield f"{place}: may be missing"
            before_it, after_it = parameter.get("schema", {}), after[key].get("schema", {})
            if key[0] == "query" and "array" not in _types(_found(self._old, before_it)):
                after_it = self._single(after_it)
                if _types(_found(self._new, after_it)) == {"string"}:  # a number is written as text, too
                    before_it = {**_found(self._old, before_it), "type": "string"}
            yield from self._schemas(_Pair(place, before_it, after_it, is_sent=not is_webhook))
        for key, parameter in after.items():
            was_required = before.get(key, {}).get("required", False)
            if parameter.get("required") and not was_required and not is_webhook:
                yield f"{at}, {key[0]} {key[1]}: is required"

    def _answers(self, at: str, old: Document, new: Document) -> Iterator[str]:
        before, after = (
            {status: _found(whole, each) for status, each in operation.get("responses", {}).items() if status[0] == "2"}
            for whole, operation in ((self._old, old), (self._new, new))
        )
        if not before.keys() & after.keys():
            yield f"{at}: never answers {' or '.join(sorted(before))}"
        yield from (f"{at}: may answer {status}" for status in sorted(after.keys() - before.keys()))
        for status in sorted(before.keys() & after.keys()):
            gone = before[status].get("headers", {}).keys() - after[status].get("headers", {}).keys()
            yield from (f"{at}, {status}: the header {name} is gone" for name in sorted(gone))
            yield from self._content(f"{at}, {status}", before[status], after[status], is_sent=False)

    def _content(self, at: str, old: Document, new: Document, *, is_sent: bool) -> Iterator[str]:
        after = new.get("content", {})
        for media_type, content in old.get("content", {}).items():
            if media_type not in after:
                yield f"{at}: is not {media_type} any more"
            else:
                schemas = content.get("schema", {}), after[media_type].get("schema", {})
                yield from self._schemas(_Pair(at, *schemas, is_sent=is_sent))

    def _schemas(self, pair: _Pair) -> Iterator[str]:
        key = (str(pair.old), str(pair.new), pair.is_sent)
        if key in self._within:  # a type may contain itself
            return
        is_type = "$ref" in pair.old and "$ref" in pair.new
        self._within |= {key} if is_type else set()
        yield from self._inside(pair)
        self._within -= {key} if is_type else set()

    def _inside(self, pair: _Pair) -> Iterator[str]:
        old, new = _found(self._old, pair.old), _found(self._new, pair.new)
        choices = self._choices(self._old, old), self._choices(self._new, new)
        if any(len(each) > 1 for each in choices):
            yield from self._alternatives(pair, *choices)
        else:
            yield from self._plain(_Pair(pair.at, choices[0][0], choices[1][0], pair.is_sent))

    def _alternatives(self, pair: _Pair, old: Sequence[Schema], new: Sequence[Schema]) -> Iterator[str]:
        """Of a request, what was taken must still be; of an answer, what comes must have come before."""
        asked, known = (old, new) if pair.is_sent else (new, old)
        for each in asked:
            found = [
                list(self._plain(_Pair(pair.at, *((each, other) if pair.is_sent else (other, each)), pair.is_sent)))
                for other in known
            ]
            if all(found):
                yield from min(found, key=len)

    def _plain(self, pair: _Pair) -> Iterator[str]:
        """Two schemas without alternatives."""
        before, after = _types(pair.old), _types(pair.new)
        lost = (before - after) if pair.is_sent else (after - before)
        if lost:
            what = "cannot be" if pair.is_sent else "may be"
            yield f"{pair.at}: {what} {' or '.join(sorted(lost))}"
            return
        yield from _values(pair)
        if pair.is_sent:
            yield from _bounds(pair)
        elif "format" in pair.old and pair.new.get("format") != pair.old["format"]:
            yield f"{pair.at}: is no {pair.old['format']}"
        yield from self._fields(pair)
        for key, place in (("items", "[]"), ("additionalProperties", ".*"), ("propertyNames", ", names")):
            schemas = pair.old.get(key), pair.new.get(key)
            if all(isinstance(each, Mapping) for each in schemas):
                yield from self._schemas(_Pair(f"{pair.at}{place}", *schemas, is_sent=pair.is_sent))  # type: ignore[arg-type]
        if (
            pair.is_sent
            and pair.new.get("additionalProperties") is False
            and pair.old.get("additionalProperties", True)
        ):
            yield f"{pair.at}: other fields are refused"

    def _fields(self, pair: _Pair) -> Iterator[str]:
        before, after = pair.old.get("properties", {}), pair.new.get("properties", {})
        needed = set(pair.old.get("required", ())), set(pair.new.get("required", ()))
        yield from (f"{pair.at}.{name}: is gone" for name in before if name not in after)
        if pair.is_sent:
            yield from (f"{pair.at}.{name}: is required" for name in sorted(needed[1] - needed[0]))
        else:
            yield from (f"{pair.at}.{name}: may be missing" for name in sorted(needed[0] - needed[1]) if name in after)
        for name in before:
            if name in after:
                yield from self._schemas(_Pair(f"{pair.at}.{name}", before[name], after[name], pair.is_sent))

    def _choices(self, whole: Document, schema: Schema) -> list[Schema]:
        """The alternatives of a schema, those within them included; itself if there are none."""
        inner = schema.get("anyOf") or schema.get("oneOf")
        if not inner:
            return [schema]
        return [choice for each in inner for choice in self._choices(whole, _found(whole, each))]

    def _single(self, schema: Schema) -> Schema:
        """One of a list's items: in a query, a list of one value is written as the value."""
        found = _found(self._new, schema)
        return found["items"] if found.get("type") == "array" and found.get("minItems", 0) <= 1 else schema

    @staticmethod
    def _body(whole: Document, operation: Document) -> Document:
        return _found(whole, operation.get("requestBody", {}))

    @staticmethod
    def _named(whole: Document, operation: Document) -> dict[tuple[str, str], Document]:
        found = (_found(whole, each) for each in operation.get("parameters", ()))
        return {(each["in"], each["name"]): each for each in found}


def _found(whole: Document, part: Document) -> Document:
    """The part, or what its reference leads to."""
    while "$ref" in part:
        target: Any = whole
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            target = target[name]
        part = target
    return part


def _types(schema: Schema) -> frozenset[str]:
    kinds = schema.get("type")
    if kinds is None:
        values = _enumerated(schema)
        kinds = list(_EVERY_TYPE) if values is None else [_TYPE_OF[type(each)] for each in values]
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return frozenset(found | {"integer"} if "number" in found else found)


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _values(pair: _Pair) -> Iterator[str]:
    before, after = _enumerated(pair.old), _enumerated(pair.new)
    if before is not None and after is not None:
        gone = [str(each) for each in before if each not in after]
        if gone:
            yield f"{pair.at}: {', '.join(gone)} {'is refused' if pair.is_sent else 'never comes'}"
    elif after is not None and pair.is_sent:
        yield f"{pair.at}: only {', '.join(map(str, after))} is taken"
    elif before is not None and not pair.is_sent:
        yield f"{pair.at}: is not one of {', '.join(map(str, before))} any more"


def _bounds(pair: _Pair) -> Iterator[str]:
    """Limits of what a client sends."""
    for keys, sign in ((_UPPER_BOUNDS, 1), (_LOWER_BOUNDS, -1)):
        for key in keys:
            before, after = pair.old.get(key), pair.new.get(key)
            if after is not None and (before is None or sign * after < sign * before):
                yield f"{pair.at}: {key} is {after}{'' if before is None else f', it was {before}'}"
    if "pattern" in pair.new and pair.new["pattern"] != pair.old.get("pattern"):
        yield f"{pair.at}: must match {pair.new['pattern']}"
