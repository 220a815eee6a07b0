"""The counts beside the navigation: what they say, whose they are, and that they hold nobody up."""

import asyncio
from dataclasses import dataclass, field

from service.adapters.postgres.engine import driver
from service.core.deliveries.request import Fault
from service.core.endpoints.gates.breaker import BreakerLimits
from service.core.oversight import BrokerState, QueueState
from service.core.reason import Reason
from service.web.aside import Aside
from tests.api.test_stats import answer, publish
from tests.api.whole_rig import OWNER, STRANGER, Whole
from tests.web.visitor import signed_in


async def test_what_fails_and_what_is_replayed_is_counted_on_every_page(whole: Whole) -> None:
    endpoint = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
    await publish(whole, "evt_1")
    timeout = Fault(Reason.TIMEOUT, 15_000)
    await answer(whole, timeout, breaker=BreakerLimits(1, 60.0))
    await whole.made("POST", "/v1/replays", {"endpoint_id": endpoint["id"]})
    visitor, stranger = await signed_in(whole), await signed_in(whole, by=STRANGER)
    for path in ("overview", "endpoints", f"endpoints/{endpoint['id']}", "deliveries", "events", "keys"):
        seen = await visitor.get(f"/dashboard/o/{OWNER}/{path}")
        assert "1 failing" in seen.words, path
        assert "1 running" in seen.words, path
        theirs = await stranger.get(f"/dashboard/o/{STRANGER}/{path}")
        assert "failing" not in theirs.words.partition("Set up")[0], path
    part = await visitor.post(f"/dashboard/o/{OWNER}/endpoints/check/url", {"url": "https://a.example/"})
    assert "failing" not in part.words


async def test_counts_that_take_too_long_are_left_out(whole: Whole) -> None:
    endpoint = await whole.made("POST", "/v1/endpoints", {"url": "https://a.example/", "event_types": ["*"]})
    await whole.made("POST", "/v1/replays", {"endpoint_id": endpoint["id"]})
    visitor = await signed_in(whole)
    async with driver(whole.engine) as connection, connection.transaction():
        await connection.execute("LOCK TABLE replay_jobs IN ACCESS EXCLUSIVE MODE")
        for path in ("event-types", "keys"):
            seen = await visitor.get(f"/dashboard/o/{OWNER}/{path}")
            assert (seen.status, "running" in seen.words) == (200, False)


@dataclass
class SilentBroker:
    """Never answers until it is let go."""

    asked: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def state(self) -> BrokerState:
        self.asked += 1
        await self.answers.wait()
        return BrokerState(None, QueueState("parked", 3, 0))


async def test_a_broker_that_does_not_answer_holds_up_one_page_in_a_while() -> None:
    now = [0.0]
    broker = SilentBroker()
    aside = Aside(broker, lambda: now[0])
    assert await aside.parked_count() == 0
    broker.answers.set()
    assert (await aside.parked_count(), broker.asked) == (0, 1), "it is not asked again at once"
    now[0] += 60
    assert (await aside.parked_count(), broker.asked) == (3, 2)
    assert await Aside(None).parked_count() == 0
