"""The page of the native API: what is easy to get wrong when an OpenAPI document becomes text."""

from typing import Any

from service.api.documents.page import docs_page

FINDINGS = """What happened.

| finding | |
|---|---|
| `gated` | it waits for < 1 endpoint |"""

_NAME = {"type": "object", "required": ["name"], "properties": {"name": {"type": ["string", "number"]}}}
_PATHS: dict[str, Any] = {
    "/v1/endpoints/{id}/pause": {
        "post": {
            "operationId": "pause_endpoint",
            "summary": "Pause an endpoint",
            "description": FINDINGS,
            "tags": ["endpoints"],
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "default": 50}},
            ],
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {"oneOf": [{"$ref": "#/components/schemas/Name"}, {"type": "object"}]},
                        "example": {"name": "it's"},
                    }
                }
            },
            "responses": {
                "200": {"description": "OK", "content": {"application/json": {"schema": _NAME}}},
                "404": {"description": "There is no such thing."},
            },
        }
    },
    "/v1/events/{event_id}": {
        "get": {
            "operationId": "get_event",
            "summary": "Show an event",
            "description": "",
            "tags": ["events"],
            "parameters": [{"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"404": {"description": "There is no such thing."}},
        }
    },
}


def rendered() -> str:
    openapi = {
        "info": {"version": "1", "summary": "Webhooks."},
        "paths": _PATHS,
        "components": {"schemas": {"Name": _NAME}},
    }
    return docs_page(openapi, base_url="https://posthorn.example", samples={})


def test_commands_go_on_with_the_variables_of_the_first_steps() -> None:
    page = rendered()
    assert "curl -sS -X POST &#34;$API_URL/v1/endpoints/$ENDPOINT_ID/pause&#34;" in page
    assert "curl -sS &#34;$API_URL/v1/events/$EVENT_ID&#34;" in page
    assert "export API_URL=https://posthorn.example" in page


def test_a_table_in_a_description_is_a_table() -> None:
    page = rendered()
    assert "<p>What happened.</p><table><tr><th>finding</th><th></th></tr>" in page
    assert "<td><code>gated</code></td><td>it waits for &lt; 1 endpoint</td>" in page


def test_fields_tell_defaults_and_kinds_and_of_a_body_the_first_form() -> None:
    page = rendered()
    assert "integer (default 50)" in page
    assert page.count("string or number") == 2  # in the body, and in the answer
    assert page.count('<code>name</code> <span class="required">') == 1  # what we answer needs nothing of the reader


def test_what_an_error_means_is_told_once() -> None:
    assert rendered().count("There is no such thing.") == 1
