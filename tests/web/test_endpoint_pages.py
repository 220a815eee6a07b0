"""The pages of endpoints, as a browser without script sees them."""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.core.deliveries.request import Fault, Reply
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.events.sample import sample_event
from service.core.reason import Reason
from tests.api.entrance_rig import sql
from tests.api.test_stats import answer, publish
from tests.api.whole_rig import OWNER, STRANGER, Whole
from tests.web.visitor import Seen, Visitor, signed_in

LIST = f"/dashboard/o/{OWNER}/endpoints"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
URL = "https://crm.example/hooks/texts"


async def made(whole: Whole, **settings: Any) -> Any:
    return await whole.made("POST", "/v1/endpoints", {"url": URL, "event_types": ["message.sent"], **settings})


async def viewer(whole: Whole) -> Visitor:
    key = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    return await signed_in(whole, key=key["key"])


def form_of(seen: Seen, action: str) -> dict[str, Any]:
    """The fields of the form with this action as they stand, as a browser would send them."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', seen.text, re.DOTALL)
    assert found is not None, seen.text
    inner = re.sub(r"<template.*?</template>", "", found[1], flags=re.DOTALL)
    fields: list[tuple[str, str]] = []
    for tag in re.findall(r"<input[^>]*>", inner):
        attributes = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if "name" in attributes and (attributes.get("type") != "checkbox" or " checked" in tag):
            fields.append((attributes["name"], html.unescape(attributes.get("value", ""))))
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', inner, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options) or re.search(
            r'<option value="([^"]*)"', options
        )
        fields.append((name, html.unescape(chosen[1]) if chosen else ""))
    for name, value in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>', inner, re.DOTALL):
        fields.append((name, html.unescape(value)))
    several: dict[str, Any] = {}
    for name, value in fields:
        several.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in several.items()}


async def test_an_endpoint_is_added_and_its_secret_shown_once(whole: Whole) -> None:
    visitor = await signed_in(whole)
    empty = await visitor.get(LIST)
    assert "Webhooks go nowhere yet" in empty.text
    opened = await visitor.get(f"{LIST}/new")
    assert opened.title == "Add an endpoint"
    form = form_of(opened, f"{LIST}/new")
    form |= {"url": URL, "event_types": ["message.sent", "message.failed"], "description": "CRM", "retry": "custom"}
    form |= {"delays": "4, 16", "rate_limit_per_second": "30", "header_name": "X-Api-Key", "header_value": "hush"}
    form |= {"path": "data.message.protocol", "operator": "in", "values": "sms, mms"}
    seen = await visitor.post(f"{LIST}/new", form)
    assert seen.status == 200, seen.words
    (secret,) = re.findall(r"<code[^>]*>(whsec_[A-Za-z0-9+/=]+)</code>", seen.text)
    (shown,) = (await whole.made("GET", "/v1/endpoints", None))["data"]
    assert shown["event_types"] == ["message.failed", "message.sent"]
    assert shown["retry"] == [4, 16]
    assert shown["rate_limit_per_second"] == 30
    assert shown["headers"] == {"X-Api-Key": "***"}
    assert shown["filter"] == {"match": {"data.message.protocol": {"in": ["sms", "mms"]}}}
    page = await visitor.get(f"{LIST}/{shown['id']}")
    assert secret not in page.text
    assert "hush" not in page.text
    assert f"whsec_…{shown['secrets'][0]['hint']}" in page.words
    assert (await visitor.post(f"{LIST}/new", form)).location == f"{LIST}/{shown['id']}", "sent twice, made once"


async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(whole: Whole) -> None:
    visitor = await signed_in(whole)
    form = form_of(await visitor.get(f"{LIST}/new"), f"{LIST}/new")
    form |= {"url": "http://plain.example/", "description": "kept as typed", "max_in_flight": "many"}
    form |= {"event_types": "message.sent", "path": "data.", "operator": "in", "values": "x"}
    seen = await visitor.post(f"{LIST}/new", form)
    assert seen.status == 400
    assert "kept as typed" in seen.text
    about = re.search(r'id="url-about">.*?</p>', seen.text, re.DOTALL)
    assert about is not None
    assert "https://" in about[0]
    for name in ("max_in_flight", "filter"):
        assert f'id="{name}-about"' in seen.text, name
    nameless = await visitor.post(f"{LIST}/new", form | {"path": ""})
    assert "a clause has values, but no path" in nameless.words
    assert re.search(r'<input id="url"[^>]*aria-invalid="true"[^>]*aria-describedby="url-about"', seen.text)
    assert await sql(whole.engine, "SELECT count(*) FROM endpoints") == 0


async def test_saving_what_the_form_shows_changes_nothing(whole: Whole) -> None:
    """Every setting survives being shown and sent back."""
    endpoint = await made(
        whole,
        description=HOSTILE,
        headers={"X-Api-Key": "hush"},
        filter={"scope": {"brand_id": ["a, b", "5"]}, "match": {"data.x": {"gte": 5, "not": {"in": [True, "true"]}}}},
        retry=[4, 16],
        timeout_seconds=7.5,
        rate_limit_per_second=0.5,
        max_in_flight=3,
        order_by="data.message.id",
        order_wait_seconds=60,
        metadata={"team": "crm"},
        valid_until=f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%dT%H:%M:%S}.123Z",
    )
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    before = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    opened = await visitor.get(path)
    seen = await visitor.post(path, form_of(opened, path))
    assert (seen.status, seen.location) == (303, f"{path}?done=endpoint-changed"), seen.words
    after = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    assert after == before
    as_json = await visitor.get(f"{path}?filter=json")
    form = form_of(as_json, path)
    assert json.loads(form["filter_json"]) == before["filter"]
    assert (await visitor.post(path, form)).status == 303
    assert (await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["filter"] == before["filter"]


async def test_a_change_of_somebody_else_is_not_overwritten(whole: Whole) -> None:
    endpoint = await made(whole)
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    form = form_of(await visitor.get(path), path) | {"description": "typed here"}
    await whole.made("PATCH", f"/v1/endpoints/{endpoint['id']}", {"timeout_seconds": 7})
    seen = await visitor.post(path, form)
    assert seen.status == 412
    assert "Somebody changed this endpoint" in seen.words
    assert "endpoint.update" in seen.words, "who changed what"
    assert "timeout_seconds" in seen.words
    assert "typed here" in seen.text
    stored = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    assert (stored["description"], stored["timeout_seconds"]) == ("", 7)
    assert (await visitor.post(path, form_of(seen, path))).status == 303, "saved on purpose"
    assert (await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["description"] == "typed here"


async def test_whoever_may_not_read_the_log_is_told_without_it(whole: Whole) -> None:
    endpoint = await made(whole)
    key = await whole.made("POST", "/v1/keys", {"scopes": ["read", "write"]})
    visitor, path = await signed_in(whole, key=key["key"]), f"{LIST}/{endpoint['id']}"
    form = form_of(await visitor.get(path), path)
    await whole.made("PATCH", f"/v1/endpoints/{endpoint['id']}", {"timeout_seconds": 7})
    seen = await visitor.post(path, form)
    assert seen.status == 412
    assert "endpoint.update" not in seen.words
    history = await visitor.get(f"{path}/history")
    assert history.status == 200
    assert "endpoint.create" not in history.words


async def test_a_secret_is_replaced_once_however_often_the_form_is_sent(whole: Whole) -> None:
    endpoint = await made(whole)
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    question = await visitor.get(f"{path}/replace-secret")
    assert question.title == "Replace the signing secret?"
    form = form_of(question, f"{path}/replace-secret") | {"overlap_seconds": "3600"}
    seen = await visitor.post(f"{path}/replace-secret", form)
    assert seen.status == 200
    (secret,) = re.findall(r"<code[^>]*>(whsec_[A-Za-z0-9+/=]+)</code>", seen.text)
    again = await visitor.post(f"{path}/replace-secret", form)
    assert again.status == 409
    assert secret not in again.text
    page = await visitor.get(path)
    assert "ends" in page.words
    assert len((await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["secrets"]) == 2
    assert secret not in page.text


async def test_the_old_secret_is_ended_before_its_overlap(whole: Whole) -> None:
    endpoint = await made(whole)
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    assert "end-overlap" not in (await visitor.get(path)).text, "there is no old secret yet"
    await whole.made("POST", f"/v1/endpoints/{endpoint['id']}/rotate-secret", {})
    assert "End the old one now…" in (await visitor.get(path)).words
    question = await visitor.get(f"{path}/end-overlap")
    assert question.title == "End the old secret now?"
    assert f"…{endpoint['secret'][-4:]}" in question.words
    form = form_of(question, f"{path}/end-overlap")
    await whole.made("POST", f"/v1/endpoints/{endpoint['id']}/rotate-secret", {})
    assert (await visitor.post(f"{path}/end-overlap", form)).status == 409, "the question was about another secret"
    form = form_of(await visitor.get(f"{path}/end-overlap"), f"{path}/end-overlap")
    ended = await visitor.post(f"{path}/end-overlap", form)
    assert ended.location == f"{path}?done=overlap-ended"
    assert "The old secret has ended" in (await visitor.get(ended.location)).words
    assert len((await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["secrets"]) == 1


async def test_pausing_resuming_and_removing(whole: Whole) -> None:
    endpoint = await made(whole)
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    seen = await visitor.post(f"{path}/pause")
    assert seen.location == f"{path}?done=endpoint-paused"
    assert "Paused. Deliveries wait" in (await visitor.get(seen.location)).words
    paused = await visitor.get(f"{LIST}?state=paused")
    assert endpoint["id"] in paused.text
    tested = await visitor.post(f"{path}/test")
    assert tested.status == 409
    assert "No test event was sent." in tested.words
    assert (await visitor.post(f"{path}/resume")).location == f"{path}?done=endpoint-resumed"
    assert endpoint["id"] not in (await visitor.get(f"{LIST}?state=paused")).text
    assert (await visitor.get(f"{path}/remove")).title == "Remove this endpoint?"
    assert (await visitor.post(f"{path}/remove")).location == f"{LIST}?done=endpoint-removed"
    assert (await visitor.get(path)).status == 404


async def test_an_expired_endpoint_says_so(whole: Whole) -> None:
    endpoint = await made(whole)
    past = "UPDATE endpoints SET valid_until = now() - interval '1 minute' WHERE id = $1"
    await sql(whole.engine, past, endpoint["id"])
    seen = await (await signed_in(whole)).get(f"{LIST}/{endpoint['id']}")
    assert "Its <code>valid_until</code> has passed. Add the URL again" in seen.text


async def test_a_test_event_is_followed(whole: Whole) -> None:
    endpoint = await made(whole)
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    sent = await visitor.post(f"{path}/test")
    assert sent.status == 303
    page = await visitor.get(sent.location)
    assert "The test event is on its way." in page.words
    part = await visitor.get(sent.location.replace("?", "/test?"))
    assert "<html" not in part.text
    assert "on its way" in part.words
    assert "on its way" not in (await visitor.get(f"{path}?test=dlv_nobody")).words


async def test_recovering_counts_first(whole: Whole) -> None:
    endpoint = await made(whole)
    body = sample_event("message.sent", OWNER, event_id="evt_1", number=1, now=datetime.now(UTC))
    await whole.made("POST", "/v1/events", json.loads(body))
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}/recover"
    since = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M}"
    assert "There is nothing to recover" in (await visitor.get(f"{path}?since={since}")).words
    await sql(whole.engine, "WITH d AS (DELETE FROM open_deliveries RETURNING *) SELECT count(*) FROM d")
    assert "There is nothing to recover" in (await visitor.get(f"{path}?since={since}")).words
    wrong = await visitor.get(f"{path}?since=yesterday")
    assert wrong.status == 400
    assert 'id="since-about"' in wrong.text
    begun = await visitor.post(path, {"since": since, "rate": "20"})
    assert begun.status == 303, begun.words
    assert "made again" in (await visitor.get(begun.location)).words
    refused = await visitor.post(path, {"since": since, "rate": "no"})
    assert refused.status == 400


async def test_a_viewer_sees_no_button_and_changes_nothing(whole: Whole) -> None:
    endpoint = await made(whole, headers={"X-Api-Key": "hush"}, url=f"{URL}?token=Hush")
    visitor, path = await viewer(whole), f"{LIST}/{endpoint['id']}"
    for each in (LIST, path, f"{path}/history"):
        seen = await visitor.get(each)
        assert seen.status == 200
        assert re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', seen.text) == ["/dashboard/sign-out"]
        assert "Hush" not in seen.text
    before = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    for action in ("", "/pause", "/resume", "/test", "/replace-secret", "/end-overlap", "/remove", "/recover"):
        form = {"newest": before["secrets"][0]["created_at"], "overlap_seconds": "0", "since": "2026-01-01T00:00"}
        seen = await visitor.post(path + action, {**form, "url": URL, "event_types": "*", "rate": "1"})
        assert seen.status == 403, action
    for each in (f"{LIST}/new", f"{LIST}/check/url"):
        assert (await visitor.post(each, {"url": URL, "event_types": "*"})).status == 403
    after = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    assert after == before


async def test_somebody_elses_endpoint_is_found_under_no_url(whole: Whole) -> None:
    theirs = await whole.made("POST", "/v1/endpoints", {"url": URL, "event_types": ["*"]}, by=STRANGER)
    visitor = await signed_in(whole)
    for here in (f"{LIST}/{theirs['id']}", f"{LIST}/ep_none", f"{LIST}/%00", f"{LIST}/{HOSTILE.replace('/', '')}"):
        for action in ("", "/history", "/remove", "/replace-secret", "/end-overlap", "/test?test=dlv_x", "/recover"):
            assert (await visitor.get(here + action)).status == 404, here + action
        for action in ("", "/pause", "/resume", "/test", "/replace-secret", "/end-overlap", "/remove"):
            seen = await visitor.post(here + action, {"url": URL, "event_types": "*", "overlap_seconds": "0"})
            assert seen.status == 404, here + action
        seen = await visitor.post(f"{here}/recover", {"since": "2026-01-01T00:00", "rate": "1"})
        assert seen.status == 404
    mine = await made(whole)
    delivery = await whole.made("POST", f"/v1/endpoints/{theirs['id']}/test", {}, by=STRANGER)
    assert "test event" not in (await visitor.get(f"{LIST}/{mine['id']}?test={delivery['id']}")).words.replace(
        "Send test event", ""
    )
    assert theirs["id"] not in (await visitor.get(LIST)).text
    still = await whole.made("GET", f"/v1/endpoints/{theirs['id']}", None, by=STRANGER)
    assert still["state"] == "active"


async def test_what_others_wrote_is_text(whole: Whole) -> None:
    endpoint = await made(
        whole,
        description=HOSTILE,
        filter={"match": {"data.x": {"eq": HOSTILE}}},
        url="https://crm.example/%3Cscript%3E'onload=alert(3)",
    )
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    await visitor.post(path, form_of(await visitor.get(path), path) | {"description": HOSTILE + "2"})
    for each in (LIST, path, f"{path}?filter=json", f"{path}/history", f"{path}/remove", f"{LIST}?search={HOSTILE}"):
        seen = await visitor.get(each)
        assert seen.status == 200, each
        assert "<script>alert" not in seen.text
        assert "<img src=x" not in seen.text
    refused = await visitor.post(f"{LIST}/new", {"url": HOSTILE, "event_types": HOSTILE, "header_name": HOSTILE})
    assert refused.status == 400
    assert "<script>alert" not in refused.text
    assert "<img src=x" not in refused.text


@pytest.mark.clock
async def test_whoever_fails_comes_first_and_says_why_and_for_how_long(whole: Whole) -> None:
    bad = await made(whole, event_types=["*"])
    good = await made(whole, url="https://good.example/", event_types=["*"])
    await publish(whole, "evt_1", "evt_2")
    timeout, taken = Fault(Reason.TIMEOUT, 15_000), Reply(200, 80)
    await answer(whole, timeout, timeout, taken, taken, breaker=BreakerLimits(2, 60.0))
    visitor = await signed_in(whole)
    listed = await visitor.get(LIST)
    assert listed.title == "Two endpoints, one failing"
    places = {each["id"]: listed.text.index(each["id"]) for each in (bad, good)}
    shown = {each["id"]: each for each in (await whole.made("GET", "/v1/endpoints", None))["data"]}
    first, second = sorted(places, key=lambda each: places[each])
    assert [shown[each]["health"]["status"] for each in (first, second)] == ["failing", "healthy"]
    ill = await visitor.get(f"{LIST}?failing=true")
    assert (ill.title, ill.text.count("<tr>")) == ("One endpoint, one failing", 2)
    assert re.findall(r">(\w+ \d+)</a>", ill.text) == ["All 2", "Failing 1", "Healthy 1"]
    assert second in (await visitor.get(f"{LIST}?failing=false&state=active")).text
    file = await visitor.get(f"{LIST}/export?failing=true&format=jsonl")
    assert [json.loads(line)["id"] for line in file.text.splitlines()] == [first]
    page = await visitor.get(f"{LIST}/{first}")
    assert "The receiver did not answer in time." in page.words
    assert "2 deliveries failed in a row" in page.words
    assert "no attempt is used up meanwhile" in page.words
    assert (await visitor.get(f"{LIST}/{second}")).status == 200


async def test_the_list_is_searched_and_filtered(whole: Whole) -> None:
    crm = await made(whole, description="The CRM")
    other = await made(whole, url="https://other.example/", description="Warehouse")
    visitor = await signed_in(whole)
    assert (await visitor.get(LIST)).title == "Two endpoints"
    found = await visitor.get(f"{LIST}?search=crm")
    assert crm["id"] in found.text
    assert other["id"] not in found.text
    nothing = await visitor.get(f"{LIST}?search=nothing")
    assert "No endpoint matches" in nothing.words
    assert tuple(re.findall(r">(\w+ \d+)</a>", found.text)) == ("All 1", "Healthy 1"), "of those that are found"
    assert (await visitor.get(f"{LIST}?state=nonsense")).status == 200
    assert (await visitor.get(f"{LIST}?cursor=nonsense")).status == 400
    assert (await visitor.get(f"{LIST}?search={'x' * 300}")).status == 400


async def test_pages_of_the_list_follow_each_other(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.pages.endpoints.list.LIMIT", 2)
    ids = {(await made(whole, url=f"https://{number}.example/"))["id"] for number in range(3)}
    visitor, seen, path = await signed_in(whole), set[str](), LIST
    for _ in range(2):
        page = await visitor.get(path)
        seen |= {each for each in ids if each in page.text}
        older = re.search(r'href="([^"]*)" rel="next"', page.text)
        path = html.unescape(older[1]) if older else ""
    assert seen == ids
    assert path == ""


async def test_what_is_typed_is_looked_at(whole: Whole) -> None:
    body = sample_event("message.sent", OWNER, event_id="evt_1", number=1, now=datetime.now(UTC))
    await whole.made("POST", "/v1/events", json.loads(body))
    visitor = await signed_in(whole)
    typed = {"url": URL, "event_types": "message.sent", "path": "id", "operator": "eq", "values": "evt_2"}
    assert "Looks right." in (await visitor.post(f"{LIST}/check/url", typed)).words
    assert (
        "must start with https" in (await visitor.post(f"{LIST}/check/url", typed | {"url": "http://x.example"})).words
    )
    checked = await visitor.post(f"{LIST}/check/filter", typed)
    assert "0 of the last 1" in checked.words
    assert "evt_1" in checked.words
    assert "1 of the last 1" in (await visitor.post(f"{LIST}/check/filter", typed | {"values": "evt_1"})).words
    schedule = await visitor.post(f"{LIST}/check/schedule", typed | {"retry": "politicalcomms"})
    assert "4 attempts" in schedule.words
    assert "after 4 s, 16 s, 1 min 4 s" in schedule.words


async def test_auth_and_metadata_are_typed_kept_and_taken_back(whole: Whole) -> None:
    endpoint = await made(whole, metadata={"team": "crm", "old": "x"})
    visitor, path = await signed_in(whole), f"{LIST}/{endpoint['id']}"
    form = form_of(await visitor.get(path), path)
    assert (form["auth_type"], form["metadata_name"]) == ("", ["old", "team", ""])
    oauth = {"auth_type": "oauth2", "auth_token_url": "https://auth.example/token", "auth_client_id": "us"}
    form |= {**oauth, "auth_client_secret": "hush-hush", "auth_scope": "hooks"}
    form |= {"metadata_name": ["", "team", "place"], "metadata_value": ["x", "sales", "here"]}
    assert (await visitor.post(path, form)).location == f"{path}?done=endpoint-changed"
    shown = await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None)
    assert shown["metadata"] == {"team": "sales", "place": "here"}
    assert (shown["auth"]["type"], shown["auth"]["scope"], shown["auth"]["client_secret"]) == ("oauth2", "hooks", "***")
    page = await visitor.get(path)
    assert "hush-hush" not in page.text
    form = form_of(page, path)
    assert (form["auth_client_secret"], form["auth_token_url"]) == ("***", "https://auth.example/token")
    assert (await visitor.post(path, {**form, "description": "new"})).status == 303, "*** keeps the secret"
    assert (await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["auth"] == shown["auth"]
    form = form_of(await visitor.get(path), path) | {"auth_token_url": "https://elsewhere.example/"}
    refused = await visitor.post(path, form)
    assert (refused.status, 'id="auth-about"' in refused.text) == (400, True)
    form = form_of(await visitor.get(path), path) | {
        "auth_type": "mtls",
        "auth_certificate": "x",
        "auth_private_key": "y",
    }
    wrong = await visitor.post(path, form)
    assert (wrong.status, "certificate:" in wrong.words) == (400, True)
    form = form_of(await visitor.get(path), path) | {"auth_type": ""}
    assert (await visitor.post(path, form)).status == 303
    assert (await whole.made("GET", f"/v1/endpoints/{endpoint['id']}", None))["auth"] is None
    seen = await (await viewer(whole)).get(path)
    assert "by the signature alone" in seen.words
    assert "sales" in seen.words
