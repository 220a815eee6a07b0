"""The documents of the whole application, each against its own standard, and against the routes that there are."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from yarl import URL

from service.api.documents.page.page import BASE_URL
from service.api.documents.sharing import operations_of, references_in, self_contained
from service.api.errors import Code
from service.core.deliveries.delivery import DeliveryKey
from service.core.deliveries.headers import event_headers
from service.core.events.registry import BUILT_IN
from service.core.events.types.operational import OPERATIONAL
from tests.api.whole_rig import Whole, whole_on
from webhook_signature import Webhook
from webhook_signature.styles import STYLES, StyleName

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
POSTMAN = json.loads(Path(__file__).with_name("postman-collection-2.1.0.json").read_text("utf-8"))
RAPIDPRO = {
    "/api/v2/resthooks.json": ["GET"],
    "/api/v2/resthook_subscribers.json": ["GET", "POST", "DELETE"],
    "/api/v2/resthook_subscribers/{id}.json": ["DELETE"],
    "/api/v2/resthook_events.json": ["GET"],
}


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
            | {(method, path) for path, methods in RAPIDPRO.items() for method in methods}
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


def test_there_is_an_example_of_everything_and_it_is_what_its_schema_describes(documents: dict[str, Any]) -> None:
    openapi = documents["openapi"]
    whole = self_contained(openapi)
    operations = [each for part in ("paths", "webhooks") for each in operations_of({"paths": whole[part]})]
    assert operations
    for path, method, operation in operations:
        answers = operation["responses"].items()
        described = {each["name"]: each for each in operation["parameters"]}
        described |= {
            f"body, {kind}": each for kind, each in operation.get("requestBody", {}).get("content", {}).items()
        }
        described |= {status: each for status, answer in answers for each in answer.get("content", {}).values()}
        described |= {name: each for _, answer in answers for name, each in answer.get("headers", {}).items()}
        for name, each in described.items():
            assert "example" in each, (path, method, name)
            schema = {**each["schema"], "components": openapi["components"]}
            checker = jsonschema.FormatChecker(["date-time"])
            errors = jsonschema.Draft202012Validator(schema, format_checker=checker).iter_errors(each["example"])
            assert not [(path, method, name, error.message) for error in errors]


def test_openapi_describes_every_webhook(documents: dict[str, Any]) -> None:
    openapi = documents["openapi"]
    webhooks = openapi["webhooks"]
    assert list(webhooks) == list(BUILT_IN)
    for name, each in webhooks.items():
        content = each["post"]["requestBody"]["content"]["application/json"]
        schema = openapi["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert schema["properties"]["type"]["const"] == name
        assert ("`*` does not cover it" in each["post"]["description"]) == (name in OPERATIONAL)


@pytest.mark.parametrize("style", list(STYLES))
def test_openapi_describes_every_header_of_a_webhook(documents: dict[str, Any], style: StyleName) -> None:
    whole = self_contained(documents["openapi"])
    secret = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" if style == "ed25519" else SECRET
    signed = Webhook([secret], style=style).sign("evt_1", 1_795_199_135, b"{}")
    key = DeliveryKey(UUID(int=1), 1, 1)
    sent = {name.lower() for name in (*signed, *event_headers(key, "evt_1", "message.sent", 1), "User-Agent")}
    for each in whole["webhooks"].values():
        described = {parameter["name"].lower() for parameter in each["post"]["parameters"]}
        assert sent - {"content-type"} <= described  # that one is the body's


def test_generators_find_nothing_to_stumble_over(documents: dict[str, Any]) -> None:
    openapi = documents["openapi"]
    components = openapi["components"]
    used = set(references_in([openapi["paths"], openapi["webhooks"], components]))
    for kind in ("schemas", "responses", "parameters", "headers"):
        assert {name for name in components[kind] if f"#/components/{kind}/{name}" not in used} == set()
    assert {"NewEndpoint", "EndpointPatch", "EventBatch", "NewEvent"} < set(components["schemas"])
    assert not [name for name in components["schemas"] if not name.isalnum() or name.endswith("Shown")]
    for at, schema in schemas_in(components["schemas"], "schemas"):
        assert "default" not in schema or schema["default"] is not None, at
        assert not {"title", "x-component"} & schema.keys(), at
        if schema.get("type") == "object":
            assert {"properties", "additionalProperties"} & schema.keys(), at
        if schema.get("type") == "array":
            assert "items" in schema, at
        for choice in schema.get("discriminator", {}).get("mapping", {}).values():
            assert {"$ref": choice} in schema["oneOf"], at


def test_what_nobody_can_set_is_read_only(documents: dict[str, Any]) -> None:
    schemas = documents["openapi"]["components"]["schemas"]
    marked = {name for name, each in schemas["Endpoint"]["properties"].items() if each.get("readOnly")}
    fields = schemas["NewEndpoint"]["properties"] | schemas["EndpointPatch"]["properties"]
    settable = {name for name, each in fields.items() if not each.get("readOnly")}
    assert marked == set(schemas["Endpoint"]["properties"]) - settable
    assert {"id", "state", "created_at"} <= marked


def schemas_in(value: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below, by its place; ``properties`` and their kin have schemas by names, which are no keywords."""
    if isinstance(value, dict):
        if not at.endswith(("schemas", "properties")):
            yield at, value
        for name, each in value.items():
            if name not in {"examples", "example", "default", "enum"}:
                yield from schemas_in(each, f"{at}.{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from schemas_in(each, f"{at}[{index}]")


def test_openapi_offers_every_signature_style(documents: dict[str, Any]) -> None:
    schemas = documents["openapi"]["components"]["schemas"]
    assert schemas["SignatureStyle"]["enum"] == list(STYLES)
    fields = [
        each["properties"]["signature_style"]
        for each in schemas.values()
        if "signature_style" in each.get("properties", {})
    ]
    assert [each for each in fields if "#/components/schemas/SignatureStyle" not in references_in(each)] == []


def test_every_instant_in_an_answer_has_the_same_form(documents: dict[str, Any]) -> None:
    paths = documents["openapi"]["paths"].values()
    bodies = str([each["requestBody"] for methods in paths for each in methods.values() if "requestBody" in each])
    asked = set(re.findall(r"#/components/schemas/(\w+)", bodies))
    found = {
        f"{name}.{field}": str(schema)
        for name, each in documents["openapi"]["components"]["schemas"].items()
        for field, schema in each.get("properties", {}).items()
        if re.fullmatch(r"at|since|until|\w+_at", field) and name not in asked
    }
    assert len(found) > 30
    assert [name for name, schema in found.items() if "date-time" not in schema] == []


def test_postman_has_a_request_for_every_operation(documents: dict[str, Any]) -> None:
    collection = documents["postman"]
    jsonschema.Draft4Validator(POSTMAN).validate(collection)
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]
    found = {(each["method"], "/" + "/".join(each["url"]["path"])) for each in requests}
    variables = {re.search(r"{{\w+}}", path)[0] for _, path in found if "{{" in path}  # type: ignore[index]
    endless = {("GET", "/v1/stream")}  # Postman would wait for its end
    expected = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in documents["routes"] - endless}
    assert {(method, re.sub(r"{{\w+}}", "{}", path)) for method, path in found} == expected
    scripts = json.dumps([item["event"] for folder in collection["item"] for item in folder["item"]])
    known = {each["key"] for each in collection["variable"]}
    assert not [each for each in variables if each[2:-2] not in known and f'set(\\"{each[2:-2]}\\"' not in scripts]
    for each in requests:
        if "body" in each:
            assert json.loads(each["body"]["raw"])


async def test_the_page_describes_every_error_code(database_url: str) -> None:
    async with whole_on(database_url) as whole, whole.client.get("/docs") as reply:
        page = await reply.text()
    assert set(Code) <= set(re.findall(r"<dt><code>([A-Z_]+)</code>", page))
    assert [code for code in Code if f'id="error-{code.lower().replace("_", "-")}"' not in page] == []
    assert "The error's sentence says what to do." not in html.unescape(page)  # which is for codes without a text


async def test_the_page_is_of_a_bounded_size_and_sent_once(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        headers = {"Accept-Encoding": "gzip"}
        async with whole.client.session.get(whole.client.make_url("/docs"), headers=headers) as reply:
            tag, packed = reply.headers["ETag"], int(reply.headers["Content-Length"])
            assert reply.headers["Content-Encoding"] == "gzip"
            assert packed < 100_000
            assert len(await reply.read()) < 1_200_000
        async with whole.client.get("/docs", headers={"If-None-Match": tag}) as reply:
            assert (reply.status, await reply.read()) == (304, b"")
        async with whole.client.get("/docs", headers={"X-Forwarded-Host": "other.example"}) as reply:
            page = await reply.text()
        assert "API_URL=http://other.example" in re.sub(r"<[^>]+>", "", page)
        assert BASE_URL not in page
        for host in ('"><script>', "evil.example/ <x>"):
            async with whole.client.get("/docs", headers={"X-Forwarded-Host": host}) as reply:
                assert host not in await reply.text()


async def test_the_pages_load_nothing_from_outside(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        async with whole.client.get("/", allow_redirects=False) as way:
            assert (way.status, way.headers["Location"]) == (302, "docs")
        for path in ("/docs", "/api/v2/", "/api/v2/explorer/", "/api/v2/resthooks"):
            async with whole.client.get(path) as reply:
                assert (reply.status, reply.content_type) == (200, "text/html")
                assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
                page = await reply.text()
                here = reply.url
            loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)\"", page)
            assert loaded
            assert not [each for each in loaded if each.startswith(("http:", "https:", "//"))]
            for each in loaded:
                async with whole.client.session.get(here.join(URL(each))) as file:
                    assert file.status == 200, each
