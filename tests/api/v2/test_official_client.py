"""RapidPro's own client, ``rapidpro-python``, does all it can do with resthooks."""

import asyncio
from typing import Any

import pytest
from temba_client import base  # type: ignore[import-untyped]
from temba_client.exceptions import (  # type: ignore[import-untyped]
    TembaBadRequestError,
    TembaHttpError,
    TembaNoSuchObjectError,
    TembaRateExceededError,
    TembaTokenError,
)

from service.core.events.registry import BUILT_IN
from tests.api.entrance_rig import make_key
from tests.api.v2.surface_rig import TARGET, Surface, aside, serving


def _slugs(query: Any) -> list[str]:
    return [row.resthook for row in query.all()]


async def test_it_lists_resthooks(surface: Surface) -> None:
    await surface.add_type("acme.paid")
    await surface.add_type("other.paid", "org_2")

    hooks = await aside(surface.temba().get_resthooks().all)

    assert {hook.resthook for hook in hooks} == {*BUILT_IN, "acme.paid"}
    assert all(hook.created_on == hook.modified_on for hook in hooks)
    assert all(hook.created_on.utcoffset().total_seconds() == 0 for hook in hooks)


async def test_a_subscriber_that_comes_or_goes_modifies_its_resthook(surface: Surface) -> None:
    temba = surface.temba()
    subscriber = await aside(temba.create_resthook_subscriber, "message.failed", TARGET)
    first = await aside(temba.get_resthooks().first)
    assert (first.resthook, first.modified_on) == ("message.failed", subscriber.created_on)
    assert first.created_on < first.modified_on

    await aside(temba.create_resthook_subscriber, "link.clicked", TARGET)
    assert (await aside(temba.get_resthooks().first)).resthook == "link.clicked"

    await aside(temba.delete_resthook_subscriber, subscriber)
    again = await aside(temba.get_resthooks().first)
    assert again.resthook == "message.failed"
    assert again.modified_on > first.modified_on


async def test_it_creates_lists_and_deletes_subscribers(surface: Surface) -> None:
    temba = surface.temba()
    one = await aside(temba.create_resthook_subscriber, "message.sent", TARGET)
    two = await aside(temba.create_resthook_subscriber, "message.failed", TARGET)
    three = await aside(temba.create_resthook_subscriber, "message.sent", f"{TARGET}/b")

    assert (one.resthook, one.target_url) == ("message.sent", TARGET)
    assert isinstance(one.id, int)
    listed = await aside(temba.get_resthook_subscribers().all)
    assert [row.serialize() for row in listed] == [row.serialize() for row in (three, two, one)]
    by_resthook = await aside(temba.get_resthook_subscribers(resthook="message.sent").all)
    assert [row.id for row in by_resthook] == [three.id, one.id]
    assert [row.id for row in await aside(temba.get_resthook_subscribers(id=two.id).all)] == [two.id]
    assert await aside(temba.get_resthook_subscribers(id=999_999).first) is None

    await aside(temba.delete_resthook_subscriber, one)
    await aside(temba.delete_resthook_subscriber, two.id)
    assert [row.id for row in await aside(temba.get_resthook_subscribers().all)] == [three.id]
    again = await aside(temba.create_resthook_subscriber, "message.sent", TARGET)
    assert again.id > three.id


@pytest.mark.parametrize(
    ("resthook", "url", "sentence"),
    [
        ("message.gone", TARGET, "No resthook with slug: message.gone"),
        ("message.sent", "nowhere", "Enter a valid URL."),
        ("message.sent", "http://hooks.example.com/", "the URL must start with https://"),
        ("message.sent", "https://10.0.0.1/", "this address is not allowed"),
        ("", " ", "This field may not be blank.. This field may not be blank."),
        (None, None, "This field is required.. This field is required."),
        (["message.sent"], TARGET, "Not a valid string."),
    ],
)
async def test_a_refusal_reads_as_a_sentence(surface: Surface, resthook: Any, url: Any, sentence: str) -> None:
    with pytest.raises(TembaBadRequestError) as caught:
        await aside(surface.temba().create_resthook_subscriber, resthook, url)
    assert str(caught.value) == sentence


async def test_a_second_subscription_of_a_url_is_refused(surface: Surface) -> None:
    temba = surface.temba()
    await aside(temba.create_resthook_subscriber, "message.sent", TARGET)
    with pytest.raises(TembaBadRequestError) as caught:
        await aside(temba.create_resthook_subscriber, "message.sent", TARGET)
    assert str(caught.value) == "URL is already subscribed to this event."
    assert caught.value.errors == {"non_field_errors": ["URL is already subscribed to this event."]}


async def test_its_error_classes(surface: Surface) -> None:
    temba = surface.temba()
    with pytest.raises(TembaNoSuchObjectError):
        await aside(temba.delete_resthook_subscriber, 999_999)
    with pytest.raises(TembaNoSuchObjectError):
        await aside(next, temba.get_resthook_events().iterfetches(resume_cursor="nonsense"))
    with pytest.raises(TembaTokenError):
        await aside(surface.temba(token="nobody").get_resthooks().all)
    with pytest.raises(TembaTokenError):
        await aside(surface.temba(await make_key(surface.engine, "org_1", ["publish"])).get_resthooks().all)
    with pytest.raises(TembaBadRequestError, match="must be an integer"):
        await aside(temba.delete_resthook_subscriber, "one")
    with pytest.raises(TembaBadRequestError, match="must be an integer"):
        await aside(temba.get_resthook_subscribers(id="one").all)
    with pytest.raises(TembaHttpError):  # another method than the client has
        await aside(temba._request, "put", f"{temba.root_url}/resthooks.json")


async def test_events_are_the_envelopes(surface: Surface) -> None:
    sent = await surface.publish(1)
    failed = await surface.publish(2, event_type="message.failed")

    events = await aside(surface.temba().get_resthook_events().all)

    assert [(event.resthook, event.data["id"]) for event in events] == [
        ("message.failed", failed.id),
        ("message.sent", sent.id),
    ]
    assert events[0].created_on >= events[1].created_on
    assert await aside(_slugs, surface.temba().get_resthook_events(resthook="message.sent")) == ["message.sent"]
    assert await aside(_slugs, surface.temba().get_resthook_events(resthook="message.none")) == []


@pytest.mark.parametrize("resthook", [None, "message.sent"])
async def test_events_are_walked_while_more_arrive(database_url: str, resthook: str | None) -> None:
    async with serving(database_url, page_size=2) as surface:
        for number in range(7):
            await surface.publish(number)
        iterator = surface.temba().get_resthook_events(resthook=resthook).iterfetches()
        walked: list[str] = []
        for number in range(100, 103):  # between the pages, newer ones of this and of another type come in
            walked += [event.data["id"] for event in await aside(next, iterator)]
            await surface.publish(number)
            await surface.publish(number + 100, event_type="link.clicked")
        cursor = iterator.get_cursor()
        assert cursor is not None
        resumed = surface.temba().get_resthook_events(resthook=resthook).iterfetches(resume_cursor=cursor)
        walked += [event.data["id"] for event in await aside(next, resumed)]

        assert walked == [f"evt_{number}" for number in reversed(range(7))]
        assert resumed.get_cursor() is None
        assert await aside(next, resumed, None) is None


async def test_subscribers_and_resthooks_are_walked_in_pages(database_url: str) -> None:
    async with serving(database_url, page_size=2) as surface:
        temba = surface.temba()
        ids = [(await surface.subscribe(url=f"{TARGET}/{number}"))["id"] for number in range(5)]
        pages = await aside(
            lambda: [[row.id for row in page] for page in temba.get_resthook_subscribers().iterfetches()]
        )
        assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
        assert sorted(await aside(_slugs, temba.get_resthooks())) == sorted(BUILT_IN)


async def test_a_full_last_page_has_no_next(database_url: str) -> None:
    async with serving(database_url, page_size=2) as surface:
        for number in range(4):
            await surface.publish(number)
        pages = await aside(lambda: [len(page) for page in surface.temba().get_resthook_events().iterfetches()])
        assert pages == [2, 2]


async def test_it_waits_out_the_throttle(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    async with serving(database_url, limit_per_hour=2) as surface:
        temba = surface.temba()
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            statement = "UPDATE rate_buckets SET measured_at = measured_at - interval '1 hour'"
            asyncio.run_coroutine_threadsafe(surface.sql(statement), loop).result(10)

        monkeypatch.setattr(base.time, "sleep", sleep)
        for _ in range(2):
            await aside(temba.get_resthooks().all)
        with pytest.raises(TembaRateExceededError) as caught:
            await aside(temba.get_resthooks().all)
        assert 1_790 <= caught.value.retry_after <= 1_800  # two an hour: the next one is earned in half of it
        assert len(await aside(lambda: temba.get_resthooks().all(retry_on_rate_exceed=True))) == len(BUILT_IN)
        assert [1_790 <= seconds <= 1_800 for seconds in slept] == [True]


async def test_two_organizations_never_see_each_other(surface: Surface) -> None:
    ours, theirs = surface.temba(), surface.temba(surface.other_key)
    await surface.publish(1, "org_1")
    await surface.publish(2, "org_2")
    our_own = await aside(ours.create_resthook_subscriber, "message.sent", TARGET)
    their_own = await aside(theirs.create_resthook_subscriber, "message.sent", TARGET)

    assert [row.id for row in await aside(ours.get_resthook_subscribers().all)] == [our_own.id]
    assert [row.id for row in await aside(theirs.get_resthook_subscribers().all)] == [their_own.id]
    assert await aside(ours.get_resthook_subscribers(id=their_own.id).all) == []
    assert [event.data["id"] for event in await aside(ours.get_resthook_events().all)] == ["evt_1"]
    assert [event.data["id"] for event in await aside(theirs.get_resthook_events().all)] == ["evt_2"]
    with pytest.raises(TembaNoSuchObjectError):
        await aside(ours.delete_resthook_subscriber, their_own)
    assert [row.id for row in await aside(theirs.get_resthook_subscribers().all)] == [their_own.id]
