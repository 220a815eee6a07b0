"""A Postman collection (format 2.1) made from the OpenAPI document: one request for each operation, ready to send."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

Document = Mapping[str, Any]

SCHEMA_URL: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def postman_collection(openapi: Document) -> dict[str, Any]:
    """Build the collection. Its variables are the server's URL and the API key; each tag is a folder."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            folders.setdefault(operation["tags"][0], []).append(_item(path, method.upper(), operation))
    return {
        "info": {
            "name": openapi["info"]["title"],
            "description": openapi["info"]["summary"],
            "version": openapi["info"]["version"],
            "schema": SCHEMA_URL,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{api_key}}", "type": "string"}]},
        "variable": [
            {"key": "base_url", "value": openapi["servers"][0]["url"], "type": "string"},
            {"key": "api_key", "value": "", "type": "string"},
        ],
        "item": [{"name": tag, "item": items} for tag, items in folders.items()],
    }


def _item(path: str, method: str, operation: Document) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": method,
        "description": operation["description"],
        "header": list(_headers(operation)),
        "url": _url(path, operation),
    }
    if operation.get("security") == []:
        request["auth"] = {"type": "noauth"}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        text = to_json(content.get("example", {}), indent=2).decode()
        request["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    return {"name": operation["summary"], "request": request, "response": []}


def _headers(operation: Document) -> Iterator[dict[str, Any]]:
    if "requestBody" in operation:
        yield {"key": "Content-Type", "value": "application/json"}
    for each in operation["parameters"]:
        if each["in"] == "header":
            yield {"key": each["name"], "value": "", "description": each["description"], "disabled": True}


def _url(path: str, operation: Document) -> dict[str, Any]:
    plain = _PATH_PARAMETER.sub(r":\1", path)
    found: dict[str, Any] = {
        "raw": "{{base_url}}" + plain,
        "host": ["{{base_url}}"],
        "path": plain.strip("/").split("/"),
    }
    query = [
        {"key": each["name"], "value": "", "description": each.get("description", ""), "disabled": True}
        for each in operation["parameters"]
        if each["in"] == "query"
    ]
    variables = [{"key": name, "value": "", "type": "string"} for name in _PATH_PARAMETER.findall(path)]
    return found | ({"query": query} if query else {}) | ({"variable": variables} if variables else {})
