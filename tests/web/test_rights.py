"""Who may do what on every page: the routes come from the router, so that a new page is held to it by itself."""

import hashlib
import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.adapters.postgres.engine import driver
from service.adapters.postgres.replays.steps import PostgresReplayStore
from tests.api.entrance_rig import sql
from tests.api.tenancy import PAGES
from tests.api.whole_rig import STRANGER, Things, Whole, make_things
from tests.end_to_end.known_ids import END_ALL
from tests.web.routes import OF_ORGANIZATION, is_of_a_thing, path_of, templates_of
from tests.web.visitor import Visitor, operator, signed_in

READING = frozenset({"/deliveries/{id}/check"})
"""Forms that change nothing: whoever may look may send them."""
OPEN = frozenset({f"{PAGES}/sign-in", f"{PAGES}/sign-out"})
"""Forms that everybody may send about themselves."""
LAST = re.compile(r"/(remove|revoke)$")
"""Forms after which a thing is no more."""
COUNTED = frozenset({"web_sessions", "web_links", "api_keys", "rate_buckets", "alembic_version"})
"""Tables that being looked at changes, such as by the time of the last use."""
PLACE = re.compile(r"""(?:action|formaction|hx-post)=(?:"([^"]*)"|'([^']*)')""")
POSTED = re.compile(r"""<form\b[^>]*method="post"[^>]*>|<[^>]*(?:formmethod="post"|hx-post=)[^>]*>""", re.IGNORECASE)


@pytest.fixture
async def things(whole: Whole) -> Things:
    return await make_things(whole)


async def form_of(whole: Whole, template: str, things: Things) -> dict[str, str]:
    """A form that would do what its page is for."""
    endpoint = await whole.ask("GET", f"/v1/endpoints/{things.endpoint_id}")
    settings = {"url": "https://mine.example/other", "event_types": "message.sent", "headers": ""}
    forms: dict[str, dict[str, str]] = {
        "/endpoints/new": settings,
        "/endpoints/{id}": {**settings, "version": endpoint.headers["ETag"].strip('"')},
        "/endpoints/{id}/replace-secret": {
            "newest": endpoint.json["secrets"][0]["created_at"],
            "overlap_seconds": "3600",
        },
        "/endpoints/{id}/recover": {"since": "2026-01-01T00:00", "rate": "10"},
        "/endpoints/check/{part}": settings,
        "/deliveries/replay": {"ids": things.delivery_id},
        "/deliveries/{id}/check": {"secret": "whsec_x", "attempt": "1"},
        "/replays": {"endpoint_id": things.endpoint_id, "states": "dead", "rate": "10"},
        "/keys": {"name": "more", "scopes": "read"},
    }
    return forms.get(template.removeprefix(OF_ORGANIZATION), {})


async def state_of(whole: Whole) -> dict[str, Any]:
    """All that is stored, as a digest of each table; of what mere looking changes, the count of rows."""
    found = {}
    async with whole.engine.connect() as connection:
        tables = await connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in tables.all():
            if table in COUNTED:
                continue
            rows = await connection.exec_driver_sql(f'SELECT t::text FROM "{table}" t ORDER BY 1')  # noqa: S608
            found[table] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
        for table in ("api_keys", "web_links"):
            count = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608
            found[table] = str(count.scalar())
    return found


async def viewers(whole: Whole) -> list[Visitor]:
    """Who may only look: by a key, by a link, and at everything."""
    made = await whole.made("POST", "/v1/keys", {"scopes": ["read"]})
    link = await whole.made("POST", "/v1/portal-links", {"scopes": ["read"]})
    by_link = Visitor(whole.client)
    await by_link.get(link["url"][link["url"].index(PAGES) :])
    return [await signed_in(whole, key=made["key"]), by_link, await operator(whole, "read")]


async def test_who_may_only_look_is_refused_every_form(whole: Whole, things: Things) -> None:
    forms = {each: await form_of(whole, each, things) for each in templates_of(whole.application, "POST")}
    looking = await viewers(whole)
    before, wrong = await state_of(whole), []
    for visitor in looking:
        for template, form in forms.items():
            short = template.removeprefix(OF_ORGANIZATION)
            if template in OPEN:
                continue
            allowed = {200} if short in READING else {403}
            if not template.startswith(OF_ORGANIZATION) and visitor is not looking[-1]:
                allowed = {404}  # the service's own pages, of which they know nothing
            status = (await visitor.post(path_of(template, things), form)).status
            if status not in allowed:
                wrong.append((template, status))
    assert wrong == []
    assert await state_of(whole) == before


async def test_the_same_forms_are_accepted_from_who_may_write(whole: Whole, things: Things) -> None:
    """So what refused the others is that they may not write, not that their forms were wrong."""
    visitor, wrong, is_there = await signed_in(whole), [], True
    for template in sorted(templates_of(whole.application, "POST"), key=lambda each: bool(LAST.search(each))):
        if not template.startswith(OF_ORGANIZATION):
            continue
        form = await form_of(whole, template, things) if is_there else {}
        is_there &= not LAST.search(template)
        seen = await visitor.post(path_of(template, things), form)
        if seen.status not in {200, 303, 409}:  # a job or a delivery may be in a state in which it cannot be done
            wrong.append((template, seen.status, seen.words[-300:]))
    assert wrong == []


def changing(text: str, base: str) -> Iterator[str]:
    """Where a page's forms are sent to that could change something."""
    for tag in POSTED.findall(text):
        place = PLACE.search(tag)
        where = html.unescape(place[1] or place[2]) if place else "?"
        if not re.search(r"/(sign-out|check|check/\w+)$", where.partition("?")[0]):
            yield where.removeprefix(base)


async def test_who_may_only_look_sees_no_button_that_would_be_refused(whole: Whole, things: Things) -> None:
    for visitor in await viewers(whole):
        wrong, known = [], dict[str, int]()
        for template in templates_of(whole.application, "GET"):
            seen = await visitor.get(path_of(template, things))
            if seen.status != 200 or template in OPEN:
                continue
            wrong += [(template, f"sends a form to {each}") for each in changing(seen.text, PAGES)]
            for link in map(html.unescape, re.findall(r'<a\b[^>]*href="([^"#]+)"', seen.text)):
                if link not in known:
                    known[link] = (await visitor.get(link)).status
                if known[link] == 403:
                    wrong.append((template, f"leads to {link}"))
        assert len(known) > 20, "pages lead to each other"
        assert wrong == []


async def test_nothing_of_another_organization_is_there(whole: Whole, things: Things) -> None:
    stranger = await signed_in(whole, by=STRANGER)
    own = await make_things(whole, by=STRANGER, url="https://other.example/hook", number=3)
    marks = {*(things.endpoint_id, things.message_id, things.event_type, things.key_id), "mine.example", "private-key"}
    forms = {each: await form_of(whole, each, things) for each in templates_of(whole.application, "POST")}
    before, wrong = await state_of(whole), list[tuple[object, ...]]()
    for method in ("GET", "POST"):
        for template in templates_of(whole.application, method):
            if not template.startswith(OF_ORGANIZATION):
                continue
            form = forms.get(template, {})
            asked = [path_of(template, things)]
            if is_of_a_thing(template):
                asked.append(path_of(template, things, STRANGER))
            for path in asked:
                seen = await (stranger.get(path) if method == "GET" else stranger.post(path, form))
                if seen.status != 404 and not template.endswith("/check/{part}"):
                    wrong.append((method, path, seen.status))
                wrong += [(method, path, f"shows {each}") for each in marks if each in seen.text and each not in path]
    base = f"{PAGES}/o/{STRANGER}"
    for name, value in (("ids", things.delivery_id), ("endpoint_id", things.endpoint_id)):
        path = "/deliveries/replay" if name == "ids" else "/replays"
        assert (await stranger.post(base + path, {name: value, "states": "dead"})).status == 404
    assert wrong == []
    assert await state_of(whole) == before
    for query in (
        f"/deliveries?endpoint_id={things.endpoint_id}",
        f"/deliveries?event_id={things.event_id}",
        f"/deliveries?message_id={things.message_id}",
        f"/events?message_id={things.message_id}",
        f"/audit?object_id={things.endpoint_id}",
        f"/endpoints?search={things.endpoint_id}",
        f"/find?q={things.event_id}",
        f"/endpoints/{own.endpoint_id}?test={things.delivery_id}",
        f"/endpoints/{own.endpoint_id}/recover?job={things.replay_id}",
        f"/endpoints/{own.endpoint_id}/recover?since=2026-01-01T00:00&job={things.replay_id}",
        f"/replays/new?endpoint_id={things.endpoint_id}",
        f"/endpoints/{own.endpoint_id}/history?cursor=x",
    ):
        seen = await stranger.get(base + query)
        assert seen.status in {200, 303, 400, 404}, query
        quoted = {each for each in marks if each in query}
        assert not [each for each in marks - quoted if each in seen.text], query
        assert things.delivery_id not in seen.text.replace(query, "") or things.delivery_id in query
        if seen.status == 303:
            assert "/endpoints?search=" in seen.location, "what is another's is not found"


async def test_of_several_deliveries_only_the_own_are_made_again(whole: Whole, things: Things) -> None:
    stranger = await signed_in(whole, by=STRANGER)
    own = await make_things(whole, by=STRANGER, url="https://other.example/hook", number=3)
    async with driver(whole.engine) as connection:
        await connection.execute(END_ALL)
    replays = f"{PAGES}/o/{STRANGER}/deliveries/replay"
    theirs = things.delivery_id
    assert (await stranger.post(replays, {"ids": theirs})).status == 404
    assert (await stranger.post(replays, {"ids": [theirs, own.delivery_id, "dlv_nonsense"]})).status == 400
    for ids in ([theirs, theirs], [own.delivery_id, theirs]):
        assert (await stranger.post(replays, {"ids": ids})).status == 303
    store, after = PostgresReplayStore(whole.engine), ""
    while (step := await store.step(STRANGER, after)) is not None:
        after = step.job_id
    made = await sql(whole.engine, "SELECT array_agg(endpoint_id) FROM deliveries WHERE replay_number > 0")
    assert made == [own.endpoint_id]
