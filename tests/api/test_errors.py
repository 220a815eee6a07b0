"""Errors for programs and for people: codes with an address, problem details, and what was probably meant."""

import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from pydantic import Field

from service.api.problem import FIELD_TITLES, TITLES, Code, code_anchor
from service.api.validation import BodyModel, parse_body
from service.core.field_code import FieldCode
from tests.api.entrance_rig import ask
from tests.api.whole_rig import SETTINGS, Whole, whole_on

PUBLIC_URL = "https://hooks.example.com/posthorn"
PROBLEM = "application/problem+json"


@pytest.fixture
async def whole(database_url: str) -> AsyncIterator[Whole]:
    async with whole_on(database_url, settings={**SETTINGS, "PUBLIC_URL": PUBLIC_URL}) as whole:
        yield whole


async def refused(whole: Whole, method: str, path: str, **options: Any) -> dict[str, Any]:
    told = await whole.ask(method, path, **options)
    assert told.status >= 400
    found: dict[str, Any] = told.json
    return found


async def test_every_code_is_explained_where_its_address_leads(whole: Whole) -> None:
    assert set(TITLES) == set(Code)
    assert set(FIELD_TITLES) == set(FieldCode)
    page = (await ask(whole.client, "GET", "/docs")).body.decode()
    anchors = re.findall(r'id="([^"]+)"', page)
    for code in (*Code, *FieldCode):
        assert anchors.count(code_anchor(code)) == 1, code
    for method, path, code in (
        ("GET", "/v1/nothing", Code.NOT_FOUND),
        ("PUT", "/v1/me", Code.METHOD_NOT_ALLOWED),
        ("GET", "/v1/endpoints?limit=x", Code.VALIDATION_ERROR),
        ("GET", "/v1/endpoints/ep_0", Code.NOT_FOUND),
    ):
        body = await refused(whole, method, path)
        assert (body["code"], body["doc_url"]) == (code, f"{PUBLIC_URL}/docs#{code_anchor(code)}")


async def test_without_a_public_url_the_address_is_the_callers(database_url: str) -> None:
    async with whole_on(database_url) as whole:
        body = await refused(whole, "GET", "/v1/nothing", headers={"X-Forwarded-Host": "proxy.example"})
        assert body["doc_url"].startswith("http://proxy.example/docs#")


@pytest.mark.parametrize(
    ("accept", "is_details"),
    [
        (PROBLEM, True),
        (f"{PROBLEM}, application/json", True),
        (f"application/json;q=0.9, {PROBLEM};q=0.9", True),
        (f"application/json, {PROBLEM};q=0.5", False),
        (f"{PROBLEM};q=0", False),
        (f"{PROBLEM};q=x", False),
        ("application/json", False),
        ("*/*", False),
        ("application/*", False),
    ],
)
async def test_problem_details_are_for_who_asks(whole: Whole, accept: str, is_details: bool) -> None:  # noqa: FBT001
    for body in ({"url": "x", "event_types": ["message.sent"]}, {}):
        told = await whole.ask("POST", "/v1/endpoints", json=body, headers={"Accept": accept})
        assert told.status == 400
        assert told.headers["Content-Type"].partition(";")[0] == (PROBLEM if is_details else "application/json")
        assert "Accept" in told.headers["Vary"]
        shown = told.json
        assert (shown["code"], set(shown["codes"])) == ("VALIDATION_ERROR", set(shown["errors"]))
        if is_details:
            assert shown["type"] == f"{PUBLIC_URL}/docs#error-validation-error"
            assert (shown["title"], shown["status"]) == ("The request is not valid", 400)
            assert shown["detail"]
            assert not {"success", "error", "statusCode", "doc_url"} & set(shown)
        else:
            assert (shown["success"], shown["statusCode"]) == (False, 400)


async def test_each_field_has_a_code_and_a_typo_what_was_meant(whole: Whole) -> None:
    endpoint = {"url": "https://a.example/", "event_types": ["message.sent", "mesage.failed"], "descripton": "x"}
    body = await refused(whole, "POST", "/v1/endpoints", json={**endpoint, "signature_style": "standart"})
    assert body["codes"]["event_types[1]"] == "UNKNOWN_VALUE"
    assert "did you mean 'message.failed'?" in body["errors"]["event_types[1]"][0]
    assert body["codes"]["descripton"] == "UNKNOWN_FIELD"
    assert body["errors"]["descripton"] == ["is not a known field; did you mean 'description'?"]
    assert "did you mean 'standard'?" in body["errors"]["signature_style"][0]

    beyond = {"description": "x" * 10_000, "max_in_flight": 0, "metadata": {"": "x"}, "rate_limit_per_second": 1e9}
    body = await refused(
        whole, "POST", "/v1/endpoints", json={"url": "https://a.example/", "event_types": [], **beyond}
    )
    fields = ["description", "event_types", "max_in_flight", "metadata.", "rate_limit_per_second"]
    assert body["codes"] == dict.fromkeys(fields, "OUT_OF_RANGE")
    unknown = {"filter": {"match": {"data.message.id": {"gtee": 1}}}}
    body = await refused(whole, "POST", "/v1/endpoints", json={**endpoint, "event_types": ["*"], **unknown})
    assert body["codes"]["filter.match.data.message.id.gtee"] == "UNKNOWN_FIELD"
    assert "did you mean" in body["errors"]["filter.match.data.message.id.gtee"][0]

    body = await refused(whole, "GET", "/v1/endpoints?limit=0&stat=active&state=activ&url=a&url=b")
    assert body["codes"] == {
        "limit": "OUT_OF_RANGE",
        "stat": "UNKNOWN_FIELD",
        "state": "UNKNOWN_VALUE",
        "url": "REPEATED",
    }
    assert "did you mean 'state'?" in body["errors"]["stat"][0]
    assert "did you mean 'active'?" in body["errors"]["state"][0]

    body = await refused(whole, "GET", "/v1/events?since=yesterday")
    assert body["codes"] == {"since": "WRONG_FORM"}
    as_json = {"Content-Type": "application/json"}
    body = await refused(whole, "POST", "/v1/event-types", json={"name": 1})
    assert body["codes"] == {"name": "WRONG_TYPE", "schema": "REQUIRED"}
    body = await refused(whole, "POST", "/v1/endpoints", data=b'{"url":"a","url":"b"}', headers=as_json)
    assert body["codes"] == {"url": "REPEATED"}


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/v1/me?x=1", "x"),
        ("GET", "/v1/events/evt_1?limti=1", "limti"),
        ("DELETE", "/v1/endpoints/ep_1?force=true", "force"),
        ("POST", "/v1/portal-links?scopes=read", "scopes"),
    ],
)
async def test_what_takes_no_parameters_says_so(whole: Whole, method: str, path: str, field: str) -> None:
    body = await refused(whole, method, path)
    assert (body["statusCode"], body["codes"]) == (400, {field: "UNKNOWN_FIELD"})


OAUTH = {"type": "oauth2", "token_url": "ftp://a.example/", "client_id": 7, "extra": "x"}


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"url": "a.example"}, "url", "WRONG_FORM"),
        ({"url": "https://10.0.0.1/"}, "url", "NOT_ALLOWED"),
        ({"url": "http://a.example/"}, "url", "NOT_ALLOWED"),
        ({"headers": {"Host": "x"}}, "headers.Host", "NOT_ALLOWED"),
        ({"headers": {"a b": "x"}}, "headers.a b", "WRONG_FORM"),
        ({"headers": {"X-A": "***"}}, "headers.X-A", "REQUIRED"),
        ({"headers": {"X-A": "x", "x_a": "y"}}, "headers.x_a", "REPEATED"),
        ({"retry": [0]}, "retry", "OUT_OF_RANGE"),
        ({"order_by": "data..x"}, "order_by", "WRONG_FORM"),
        ({"secret": "short"}, "secret", "WRONG_FORM"),
        ({"signature_header": "X-Sig"}, "signature_header", "NOT_ALLOWED"),
        ({"auth": {"type": "basic"}}, "auth.type", "UNKNOWN_VALUE"),
        ({"auth": OAUTH}, "auth.client_id", "WRONG_TYPE"),
        ({"auth": OAUTH}, "auth.client_secret", "REQUIRED"),
        ({"auth": OAUTH}, "auth.extra", "UNKNOWN_FIELD"),
        ({"filter": {"match": {"data.x": 1}}}, "filter.match.data.x", "WRONG_TYPE"),
        ({"filter": {"scope": {"brand_id": []}}}, "filter.scope.brand_id", "OUT_OF_RANGE"),
    ],
)
async def test_what_an_endpoint_may_not_be_has_a_code(
    whole: Whole, changes: dict[str, Any], field: str, code: str
) -> None:
    body = await refused(
        whole, "POST", "/v1/endpoints", json={"url": "https://a.example/", "event_types": ["*"]} | changes
    )
    assert body["codes"].get(field) == code, body


async def test_what_an_event_or_a_type_may_not_be_has_a_code(whole: Whole) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 5}}}
    await whole.made("POST", "/v1/event-types", {"name": "order.placed", "schema": schema})
    at = "2026-11-20T18:25:35Z"
    message = {"id": "m", "direction": "up", "segments": "two", "metadata": {str(n): "" for n in range(17)}}
    events = [
        {"id": "a.b", "type": "mesage.sent", "timestamp": "today", "organization_id": 7, "test": 1, "data": {}},
        {"id": "e_1", "type": "message.sent", "timestamp": "2999-01-01T00:00:00Z"},
        {"id": "e_2", "type": "message.sent", "timestamp": at, "data": {"message": message}},
        {"id": "e_3", "type": "order.placed", "timestamp": at, "data": {"n": 9}},
        {"id": "e_4", "type": "order.placed", "timestamp": at, "data": {}},
        {"id": "e_5", "type": "endpoint.gone", "timestamp": at, "data": {}},
        {"id": "e_6", "type": "message.sent", "timestamp": at, "organization_id": "org_x", "data": {}},
    ]
    body = await refused(whole, "POST", "/v1/events", json={"events": events})
    found = {name.removeprefix("events"): code for name, code in body["codes"].items()}
    expected = {
        "[0].id": "WRONG_FORM",
        "[0].timestamp": "WRONG_FORM",
        "[0].organization_id": "WRONG_TYPE",
        "[0].test": "WRONG_TYPE",
        "[1].timestamp": "OUT_OF_RANGE",
        "[1].data": "REQUIRED",
        "[2].data.message.segments": "WRONG_TYPE",
        "[2].data.message.metadata": "OUT_OF_RANGE",
        "[2].data.message.to.urn": "REQUIRED",
        "[3].data.n": "OUT_OF_RANGE",
        "[4].data.n": "REQUIRED",
        "[5].type": "NOT_ALLOWED",
    }
    assert {name: found.get(name) for name in expected} == expected
    body = await refused(whole, "POST", "/v1/event-types", json={"name": "order.sent", "schema": {"$schema": "x"}})
    assert body["codes"] == {"schema.$schema": "UNKNOWN_VALUE"}
    body = await refused(
        whole, "POST", "/v1/event-types", json={"name": "order.sent", "schema": schema, "sample": {"n": "x"}}
    )
    assert body["codes"] == {"sample.n": "WRONG_TYPE"}


async def test_the_type_of_an_event_or_a_test_is_suggested(whole: Whole) -> None:
    made = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
    body = await refused(whole, "POST", f"/v1/endpoints/{made['id']}/test", json={"event_type": "message.snt"})
    assert body["errors"]["event_type"] == ["no such event type; did you mean 'message.sent'?"]
    assert body["codes"] == {"event_type": "UNKNOWN_VALUE"}
    event = {"id": "evt_1", "type": "mesage.sent", "timestamp": "2026-11-20T18:25:35Z", "data": {}}
    body = await refused(whole, "POST", "/v1/events", json=event)
    assert "did you mean 'message.sent'?" in body["errors"]["type"][0]
    many = [{**event, "id": f"evt_{n}"} for n in range(100)]
    errors = (await refused(whole, "POST", "/v1/events", json={"events": many}))["errors"]
    assert [n for n in range(100) if "did you mean" in errors[f"events[{n}].type"][0]] == [0, 1, 2]


async def test_a_stored_refusal_keeps_its_codes(whole: Whole) -> None:
    sent: dict[str, Any] = {
        "json": {"url": "https://a.example/", "event_type": ["*"]},
        "headers": {"Idempotency-Key": "k"},
    }
    first, again = [await whole.ask("POST", "/v1/endpoints", **sent) for _ in range(2)]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json == first.json
    assert first.json["codes"] == {"event_type": "UNKNOWN_FIELD", "event_types": "REQUIRED"}


class _Inner(BodyModel):
    delay: int = 0
    mode: Literal["fast", "slow"] = "fast"


class _Outer(BodyModel):
    inner: _Inner | None = None
    many: list[_Inner] = Field(default=[])


def test_suggestions_look_where_the_typo_is_and_are_few() -> None:
    with pytest.raises(Exception, match="not valid") as caught:
        parse_body(_Outer, b'{"inner":{"dely":1,"mode":"fst"},"many":[{},{"mod":"fast"}],"mny":[],"innr":{}}')
    errors = getattr(caught.value, "errors")  # noqa: B009 - an ApiError's
    hints = {field: sentences[0].rpartition("; did you mean ")[2] for field, sentences in errors.items()}
    assert hints["inner.dely"] == "'delay'?"
    assert hints["inner.mode"] == "'fast'?"
    assert hints["many[1].mod"] == "'mode'?"
    assert sum("did you mean" in sentences[0] for sentences in errors.values()) == 3
