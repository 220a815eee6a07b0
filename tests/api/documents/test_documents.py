"""The documents of the whole application, each against its own standard, and against the routes that there are."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.core.events.registry import BUILT_IN
from service.core.events.types.operational import OPERATIONAL
from tests.api.whole_rig import Whole, whole_on
from webhook_signature.styles import STYLES

POSTMAN = json.loads(Path(__file__).with_name("postman-collection-2.1.0.json").read_text("utf-8"))


@pytest.fixture
async def documents(database_url: str) -> dict[str, Any]:
    async with whole_on(database_url) as whole:
        return {name: await fetch(whole, f"/{name}.json") for name in ("openapi", "postman", "asyncapi")} | {
            "routes": {
                (route.method, route.resource.canonical)
                for route in whole.application.router.routes()
                if route.resource is not None
                and route.resource.canonical.startswith(("/v1/", "/.well-known/"))
                and route.method != "HEAD"
            }
        }


async def fetch(whole: Whole, path: str) -> Any:
    async with whole.client.get(path) as reply:  # no key is needed
        assert (reply.status, reply.content_type) == (200, "application/json")
        return await reply.json()


def test_openapi_is_valid_and_has_every_route(documents: dict[str, Any]) -> None:
    openapi = documents["openapi"]
    OpenAPIV31SpecValidator(openapi).validate()
    documented = {(method.upper(), path) for path, methods in openapi["paths"].items() for method in methods}
    assert documented == documents["routes"]
    names = [each["operationId"] for methods in openapi["paths"].values() for each in methods.values()]
    assert len(set(names)) == len(names)


def test_an_example_in_openapi_is_what_its_schema_describes(documents: dict[str, Any]) -> None:
    openapi = documents["openapi"]
    contents = [
        content
        for methods in openapi["paths"].values()
        for each in methods.values()
        for content in each.get("requestBody", {}).get("content", {}).values()
    ]
    assert contents
    for content in contents:
        schema = {**content["schema"], "components": openapi["components"]}
        jsonschema.Draft202012Validator(schema).validate(content["example"])


def test_openapi_describes_every_webhook(documents: dict[str, Any]) -> None:
    webhooks = documents["openapi"]["webhooks"]
    assert list(webhooks) == list(BUILT_IN)
    for name, each in webhooks.items():
        content = each["post"]["requestBody"]["content"]["application/json"]
        jsonschema.Draft202012Validator(content["schema"]).validate(content["example"])
        assert ("`*` does not cover it" in each["post"]["description"]) == (name in OPERATIONAL)


def test_openapi_offers_every_signature_style(documents: dict[str, Any]) -> None:
    schemas = documents["openapi"]["components"]["schemas"].values()
    fields = [each["properties"] for each in schemas if "signature_style" in each.get("properties", {})]
    offered = [text for text in (str(each["signature_style"]) for each in fields) if "enum" in text]
    assert offered
    assert [name for name in STYLES for text in offered if repr(name) not in text] == []


def test_postman_has_a_request_for_every_operation(documents: dict[str, Any]) -> None:
    collection = documents["postman"]
    jsonschema.Draft4Validator(POSTMAN).validate(collection)
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]
    found = {
        (each["method"], re.sub(r":(\w+)", r"{\1}", each["url"]["raw"].removeprefix("{{base_url}}")))
        for each in requests
    }
    assert found == documents["routes"]
    for each in requests:
        if "body" in each:
            assert json.loads(each["body"]["raw"])


async def test_the_pages_load_nothing_from_outside(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        async with whole.client.get("/", allow_redirects=False) as way:
            assert (way.status, way.headers["Location"]) == (302, "docs")
        for path in ("/docs", "/api/v2/", "/api/v2/explorer/", "/api/v2/resthooks"):
            async with whole.client.get(path) as reply:
                assert (reply.status, reply.content_type) == (200, "text/html")
                assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
                page = await reply.text()
            loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)\"", page)
            assert loaded
            assert not [each for each in loaded if each.startswith(("http:", "https:", "//"))]
