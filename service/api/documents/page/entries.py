"""An operation as the page shows it, made from the OpenAPI document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from markupsafe import Markup
from pydantic_core import to_json

from service.api.documents.answers import recorded
from service.api.documents.page.fields import Field, fields_of, parameter_field
from service.api.documents.page.highlight import highlighted
from service.api.documents.page.languages import LANGUAGES, Request, usual_value
from service.api.documents.page.literals import folded_json
from service.api.documents.page.markdown import text
from service.api.documents.page.problems import anchor_of, is_error
from service.api.documents.page.references import Document, example_of, json_content, operations_of, resolved

SHOWN_ERRORS: Final = ("400", "403", "404", "409", "412", "429")
"""Errors with a tab of their own; the others look the same."""
SHOWN_FIELDS: Final = 5
"""Fields that are shown at once; the others open with a click."""

_PLACES: Final = {"path": "Path", "query": "Query", "header": "Headers"}
_OF_PAGES: Final = {"limit", "cursor"}
_LIMIT_SHOWN: Final = 20
_WORD_LENGTH_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Tab:
    """One of several codes in the same place; ``kind`` tells a success from an error."""

    label: str
    code: Markup
    kind: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Fields with a title, such as "Body"; ``more`` are those past the first few."""

    title: str
    fields: Sequence[Field]
    more: Sequence[Field]

    @property
    def more_names(self) -> str:
        """What a reader who searches for a field looks for."""
        return ", ".join(each.name for each in self.more)


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation."""

    anchor: str
    method: str
    path: str
    summary: str
    description: Markup
    groups: Sequence[Group]
    requests: Sequence[Tab]
    answers: Sequence[Tab]
    answer_fields: Sequence[tuple[str, Sequence[Field]]]
    errors: Sequence[tuple[str, str]]
    """Each status, and where its code is described."""
    slots: Mapping[str, str]
    """The parameters of the path: from each one's name there to its name on the whole page."""
    queries: Sequence[str]
    body: str | None
    """What the explorer's body begins with; None without one."""
    needs_key: bool
    is_deprecated: bool


def entries_of(openapi: Document, base_url: str) -> Mapping[str, list[Entry]]:
    """Every operation, by its tag."""
    found: dict[str, list[Entry]] = {}
    for path, method, operation in operations_of(openapi):
        tag = next(iter(operation.get("tags", ())), "other")
        found.setdefault(tag, []).append(_entry(openapi, path, method, operation, base_url))
    return found


def _entry(openapi: Document, path: str, method: str, operation: Document, base_url: str) -> Entry:
    parameters: Sequence[Document] = operation["parameters"]
    content = json_content(resolved(operation.get("requestBody", {}), openapi))
    answers = {status: resolved(each, openapi) for status, each in operation["responses"].items()}
    body = example_of(content, openapi)
    request = Request(
        method,
        base_url,
        path,
        query_example(parameters, openapi),
        body,
        has_body=bool(content),
        needs_key=operation.get("security") != [],
    )
    return Entry(
        anchor=operation["operationId"],
        method=method,
        path=path,
        summary=operation.get("summary", path),
        description=text(operation.get("description", "")),
        groups=list(_groups(parameters, content, openapi)),
        requests=[Tab(name, highlighted(write(request), name.lower())) for name, write in LANGUAGES.items()],
        answers=list(_answers(operation["operationId"], answers, openapi)),
        answer_fields=list(_answer_fields(answers, openapi)),
        errors=[(each, anchor_of(each)) for each in sorted(filter(is_error, answers))],
        slots=request.slots(),
        queries=[each["name"] for each in parameters if each["in"] == "query"],
        body=to_json(body, indent=2).decode() if content else None,
        needs_key=request.needs_key,
        is_deprecated=bool(operation.get("deprecated")),
    )


def _groups(parameters: Sequence[Document], content: Document, openapi: Document) -> Iterator[Group]:
    by_place: dict[str, list[Field]] = {}
    for each in parameters:
        field = parameter_field(each, openapi)
        if each["in"] in _PLACES and (each["in"] != "path" or field.description):  # the path itself shows its parts
            by_place.setdefault(_PLACES[each["in"]], []).append(field)
    whole = {**by_place, "Body": fields_of(content.get("schema", {}), openapi)}
    for title in ("Path", "Query", "Body", "Headers"):
        fields = sorted(whole.get(title, ()), key=_rank)
        if fields:
            count = len(fields) if len(fields) == SHOWN_FIELDS + 1 else SHOWN_FIELDS  # one more needs no click
            yield Group(title, fields[:count], fields[count:])


def _rank(field: Field) -> int:
    """Required ones come first, and last those that every list has."""
    return 0 if field.is_required else 2 if field.name in _OF_PAGES else 1


def query_example(parameters: Sequence[Document], openapi: Document) -> Mapping[str, object]:
    """A query worth showing: the first parameter with a choice, else one with an example, else a limit."""
    queries = {each["name"]: each for each in parameters if each["in"] == "query"}
    for name, each in queries.items():
        schema = resolved(each.get("schema", {}), openapi)
        if "enum" in schema:
            return {name: each.get("example", schema["enum"][0])}
    for name, each in queries.items():
        if name not in _OF_PAGES and "example" in each:
            return {name: each["example"]}
    return {"limit": _LIMIT_SHOWN} if "limit" in queries else {}


def _answers(operation: str, answers: Mapping[str, Document], openapi: Document) -> Iterator[Tab]:
    """Each success, and the errors: the operation's own where it was brought to answer so, else one of its kind."""
    for status, answer in answers.items():
        if not is_error(status):
            example = example_of(json_content(answer), openapi)
            code = highlighted(folded_json(example), "json") if example is not None else Markup("<i>no body</i>")
            yield Tab(status, code, "ok", _word(status))
    for status in SHOWN_ERRORS:
        if status not in answers:
            continue
        error = recorded(operation, status) or example_of(json_content(answers[status]), openapi)
        if error is not None:
            yield Tab(status, highlighted(folded_json(error), "json"), "bad")


def _word(status: str) -> str:
    phrase = HTTPStatus(int(status)).phrase if status.isdecimal() else ""
    return phrase if len(phrase) <= _WORD_LENGTH_MAX else ""


def _answer_fields(answers: Mapping[str, Document], openapi: Document) -> Iterator[tuple[str, Sequence[Field]]]:
    """The fields of each success, but for those that have none that the ones before lack."""
    seen: set[str] = set()
    for status, answer in answers.items():
        schema = json_content(answer).get("schema", {})
        fields = () if is_error(status) else fields_of(schema, openapi, is_answer=True)
        if not seen.issuperset(each.name for each in fields):
            seen |= {each.name for each in fields}
            yield status, fields


def slot_names(sections: Mapping[str, Sequence[Entry]]) -> Mapping[str, str]:
    """Every value that the reader may fill in, beside the key: from its name to what stands there otherwise."""
    names = {name: None for entries in sections.values() for each in entries for name in each.slots.values()}
    return {name: usual_value(name) for name in names}
