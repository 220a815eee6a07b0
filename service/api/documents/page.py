"""``/docs``: the OpenAPI document as an HTML page, after first steps from a key to a verified delivery."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic_core import to_json

Document = Mapping[str, Any]

_templates: Final = Environment(
    loader=PackageLoader("service.api.documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a table: a parameter, or a field of a body or an answer."""

    name: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    parameters: Sequence[Field]
    body: Sequence[Field]
    answers: Sequence[tuple[str, str, Sequence[Field]]]
    problems: Sequence[str]
    curl: str


def docs_page(openapi: Document, *, base_url: str, samples: Mapping[str, Document]) -> str:
    """Render the page. ``samples`` maps event types to envelopes as they are delivered."""
    template = _templates.get_template("docs.html")
    return template.render(
        info=openapi["info"],
        base_url=base_url,
        sections=_sections(openapi),
        problems=_problems(openapi),
        samples={name: to_json(sample, indent=2).decode() for name, sample in samples.items()},
        text=_text,
    )


def stylesheet() -> str:
    """Return the page's CSS."""
    return _templates.get_template("docs.css").render()


def _sections(openapi: Document) -> Mapping[str, list[Entry]]:
    sections: dict[str, list[Entry]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            entry = _entry(openapi, path, method.upper(), operation)
            sections.setdefault(operation["tags"][0], []).append(entry)
    return sections


def _problems(openapi: Document) -> Mapping[str, str]:
    """What each error status means; the same for all operations, so it is shown once."""
    found = {
        status: answer["description"]
        for methods in openapi["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if _is_problem(status)
    }
    return dict(sorted(found.items()))


def _is_problem(status: str) -> bool:
    return status >= "400"


def _entry(openapi: Document, path: str, method: str, operation: Document) -> Entry:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return Entry(
        anchor=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        parameters=[
            Field(each["name"], _kind(each["schema"], openapi), each["required"], each.get("description", ""))
            for each in operation["parameters"]
            if each["in"] != "path"  # the path already shows it
        ],
        body=list(_fields(content.get("schema", {}), openapi)),
        answers=[
            (status, answer["description"], list(_fields(_schema_of(answer), openapi)))
            for status, answer in operation["responses"].items()
            if not _is_problem(status)
        ],
        problems=sorted(filter(_is_problem, operation["responses"])),
        curl=_curl(path, method, content.get("example")),
    )


def _schema_of(answer: Document) -> Document:
    schema: Document = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _curl(path: str, method: str, example: object) -> str:
    """A curl command that uses the variables set in the first steps."""
    known = path.replace("/endpoints/{id}", "/endpoints/$ENDPOINT_ID").replace(
        "/deliveries/{id}", "/deliveries/$DELIVERY_ID"
    )
    url = _PATH_PARAMETER.sub(lambda found: f"${found[1].upper()}", known)
    lines = [f'curl -sS {"" if method == "GET" else f"-X {method} "}"$API_URL{url}"']
    lines.append('-H "Authorization: Bearer $API_KEY"')
    if example is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(to_json(example).decode())}")
    return " \\\n  ".join(lines)


def _resolved(schema: Document, openapi: Document) -> Document:
    while "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _fields(schema: Document, openapi: Document, prefix: str = "", depth: int = 0) -> Iterator[Field]:
    """Yield an object's fields, each followed by those of nested objects."""
    schema = _resolved(schema, openapi)
    schema = _resolved(schema.get("oneOf", [schema])[0], openapi)  # the first alternative is the plain one
    required = schema.get("required", ())
    for name, raw in schema.get("properties", {}).items():
        inner = _inner_object(raw, openapi)
        whole = f"{prefix}{name}"
        yield Field(whole, _kind(raw, openapi), name in required, raw.get("description", ""))
        if inner is not None and depth < 2:  # noqa: PLR2004 - deeper tables confuse more than they help
            suffix = "[]." if "items" in _resolved(raw, openapi) else "."
            yield from _fields(inner, openapi, whole + suffix, depth + 1)


def _inner_object(schema: Document, openapi: Document) -> Document | None:
    for choice in (schema, *schema.get("anyOf", ())):
        found = _resolved(choice, openapi)
        found = _resolved(found.get("items", found), openapi)
        if "properties" in found:
            return found
    return None


def _kind(schema: Document, openapi: Document) -> str:
    """A schema's type in a few words."""
    found = _resolved(schema, openapi)
    if "anyOf" in found or "oneOf" in found:
        kinds = dict.fromkeys(_kind(each, openapi) for each in found.get("anyOf", found.get("oneOf", ())))
        return " or ".join(kinds)
    if "enum" in found or "const" in found:
        return " | ".join(str(each) for each in found.get("enum", [found.get("const")]))
    kind = found.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_kind(found.get('items', {}), openapi)}"
    kind = found.get("format", kind)
    notes = [f"{sign} {found[key]}" for key, sign in _BOUNDS.items() if key in found]
    if schema.get("default") is not None:
        notes.append(f"default {schema['default']}")
    return f"{kind} ({', '.join(notes)})" if notes else str(kind)


_BOUNDS: Final = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "maxLength": "length ≤"}
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_CODE: Final = re.compile(r"`([^`]+)`")


def _text(plain: str) -> Markup:
    """Render a description: Markdown paragraphs, tables and `code`."""
    parts = [_CODE.sub(r"<code>\1</code>", str(escape(each))) for each in plain.split("\n\n") if each]
    return Markup("".join(map(_block, parts)))  # noqa: S704 - escaped above


def _block(text: str) -> str:
    if not text.startswith("|"):
        return f"<p>{text}</p>"
    head, _, *rows = (line.strip("|").split("|") for line in text.splitlines())
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell.strip()}</{tag}>' for cell in cells)}</tr>"
