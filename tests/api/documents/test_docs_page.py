"""The page of the native API: what is easy to get wrong when an OpenAPI document becomes text."""

import html
import re
from typing import Any

import pytest

from service.api.documents.page.entries import entries_of
from service.api.documents.page.fields import fields_of, kind_of
from service.api.documents.page.literals import folded_json
from service.api.documents.page.markdown import text
from service.api.documents.page.page import BASE_URL, docs_page
from service.api.documents.page.references import operations_of, resolved

FINDINGS = """What happened.

| finding | |
|---|---|
| `gated` | it waits for < 1 endpoint |"""

_NAME = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "note": {"type": "string", "description": "For <you>."},
        "name": {"type": ["string", "number"]},
        "made_at": {"type": "string", "readOnly": True},
        "secret": {"type": "string", "writeOnly": True},
        "inner": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
    },
}
_PROBLEM = {"type": "object", "properties": {"code": {"enum": ["NOT_FOUND", "WHOLLY_NEW"]}}}
_MISSING = {
    "description": "There is no such thing.",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "example": {"code": "NOT_FOUND"},
        }
    },
}
OPENAPI: dict[str, Any] = {
    "info": {"version": "1", "summary": "Webhooks."},
    "paths": {
        "/v1/endpoints/{id}/pause": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "post": {
                "operationId": "pause_endpoint",
                "summary": "Pause an endpoint",
                "description": FINDINGS,
                "tags": ["endpoints"],
                "parameters": [
                    {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "default": 50}},
                ],
                "requestBody": {
                    "content": {
                        "application/merge-patch+json": {
                            "schema": {"oneOf": [{"$ref": "#/components/schemas/Name"}, {"type": "object"}]},
                            "example": {"name": "it's $HOME"},
                        }
                    }
                },
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Name"}}},
                    },
                    "404": {"$ref": "#/components/responses/Missing"},
                },
            },
        },
        "/v1/events/{event_id}": {
            "get": {
                "operationId": "get_event",
                "tags": ["events"],
                "security": [],
                "parameters": [{"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"404": _MISSING},
            }
        },
    },
    "components": {
        "schemas": {
            "Name": _NAME,
            "Inner": {"type": "object", "properties": {"deep": {"type": "integer", "minimum": 1, "maximum": 9}}},
            "Problem": _PROBLEM,
        },
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "responses": {"Missing": _MISSING},
    },
}


@pytest.fixture(scope="module")
def page() -> str:
    return docs_page(OPENAPI, samples={"message.sent": {"id": "evt_1"}}, verifiers={"Go": "package x"}, digest="0a")


def shown(page: str) -> str:
    """The page's text, as a reader has it."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_commands_go_on_with_the_variables_of_the_first_steps(page: str) -> None:
    assert 'curl -sS -X POST "$API_URL/v1/endpoints/$ENDPOINT_ID/pause?limit=20"' in shown(page)
    assert 'curl -sS "$API_URL/v1/events/$EVENT_ID"\nimport requests' in shown(page)  # it needs no key
    assert f"export API_URL={BASE_URL}" in shown(page)


def test_references_and_shared_parameters_are_followed() -> None:
    found = {path: [each["name"] for each in operation["parameters"]] for path, _, operation in operations_of(OPENAPI)}
    assert found == {"/v1/endpoints/{id}/pause": ["id", "limit"], "/v1/events/{event_id}": ["event_id"]}


def test_a_circle_of_references_is_refused() -> None:
    circle = {"components": {"schemas": {"A": {"$ref": "#/components/schemas/A"}}}}
    with pytest.raises(ValueError, match="circle"):
        resolved({"$ref": "#/components/schemas/A"}, circle)


def test_a_description_is_text_with_tables_lists_and_links() -> None:
    assert text(FINDINGS) == (
        '<p>What happened.</p><div class="scroll" tabindex="0"><table><thead><tr><th scope="col">finding</th>'
        "<td></td></tr></thead><tbody><tr><td><code>gated</code></td>"
        "<td>it waits for &lt; 1 endpoint</td></tr></tbody></table></div>"
    )
    assert text("- a `b*c`\n- **d**") == "<ul><li>a <code>b*c</code></li><li><strong>d</strong></li></ul>"
    assert text("[x](javascript:alert(1)) [y](#z)") == '<p>[x](javascript:alert(1)) <a href="#z">y</a></p>'


def test_required_fields_come_first_and_what_only_answers_have_is_not_asked_for() -> None:
    body, answer = fields_of(_NAME, OPENAPI), fields_of(_NAME, OPENAPI, is_answer=True)
    assert [each.name for each in body] == ["name", "note", "secret", "inner"]
    assert [each.name for each in answer] == ["name", "note", "made_at", "inner"]
    assert [each.name for each in body[3].inner] == ["deep"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer", "default": 50}, "integer, default 50"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer, 1 to 9"),
        ({"type": ["string", "number"]}, "string or number"),
        ({"anyOf": [{"type": "string", "maxLength": 500}, {"type": "null"}]}, "string or null, up to 500 characters"),
        ({"type": "array", "minItems": 1, "items": {"type": "string"}}, "list of strings, at least 1 items"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "list"),
        ({"enum": ["a", None]}, "a or null"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "boolean", "default": False}, "boolean, default false"),
        ({}, "any"),
    ],
)
def test_a_kind_is_a_few_words(schema: dict[str, Any], kind: str) -> None:
    assert kind_of(schema, OPENAPI) == kind


def test_every_error_code_has_its_place_and_its_text(page: str) -> None:
    assert '<div id="error-not-found">' in page
    assert '<div id="error-wholly-new">' in page  # a code that nobody has described yet is there all the same
    assert page.count("It does not exist, or it belongs to another organization") == 1
    entry = entries_of(OPENAPI, BASE_URL)["endpoints"][0]
    assert entry.errors == [("404", "error-not-found")]
    assert '"code": "NOT_FOUND"' in shown(entry.answers[-1].code)


def test_an_answer_folds_what_its_fields_hold_but_not_the_items_of_a_list() -> None:
    wide = {"status": "healthy", "latest": "2026-11-20T18:25:35.123456Z", "before": "2026-11-20T18:25:35.123456Z"}
    folds = "\ue004", "\ue005", "\ue006"
    item = folded_json({"id": "ep_1", "health": wide, "gates": [wide]})
    assert [item.count(each) for each in folds] == [2, 2, 2]
    assert '"health": \ue004{"status": "healthy", …}\ue005{\n' in item
    assert '"gates": \ue004[{"status": "healthy", …}]\ue005[\n' in item
    listed = folded_json({"data": [{"id": "ep_1", "health": wide, "gates": [wide]}], "has_more": False})
    assert listed.startswith('{\n  "data": [\n    {\n      "id": "ep_1",\n      "health": \ue004')


def test_whatever_stands_in_the_document_is_text(page: str) -> None:
    assert "For &lt;you&gt;." in page
    assert "<you>" not in page
    assert '-d \'{"name": "it\'"\'"\'s $HOME"}\'' in shown(page)


def test_every_part_of_the_page_has_its_own_id(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(set(ids)) == sorted(ids)
    targets = set(re.findall(r'href="#([^"]+)"', page)) - {
        "rotate_endpoint_secret",
        "replay_delivery",
        "get_replay",
        "error-precondition-failed",
    }
    whole = {
        "explain_event",
        "rehearse_endpoint",
        "resume_endpoint",
        "revoke_leaked_key",
    }  # operations of the whole API
    left = targets - set(ids) - whole
    assert left == set()
