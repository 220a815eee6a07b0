"""listen: events reach a local URL once, in order and signed, whatever happens on the way."""

import asyncio
import json

import pytest
from aiohttp import web

from service.adapters.postgres.requests.keys import KeyStore
from tests.cli.command import Run, free_port
from tests.cli.live.rig import App, Session, following
from tests.contract.relay import Relay
from tests.fakes.actor import SOMEBODY
from webhook_signature import Webhook


async def test_an_event_arrives_as_it_is_delivered_and_signed_for_this_session(session: Session, local: App) -> None:
    async with following(session.environ, "listen", "--forward-to", local.url) as listening:
        heading = await listening.next("listening")
        assert (heading["organization_id"], heading["forward_to"]) == (session.organization_id, local.url)
        await listening.next("open")
        await session.publish("evt_first")
        told = await listening.next("forwarded")
    [(headers, body)] = local.posts
    verified = Webhook([heading["secret"]]).verify(body, dict(headers))
    assert verified.id == json.loads(body)["id"] == "evt_first"
    assert "received_at" not in json.loads(body)
    assert (headers["webhook-attempt"], headers["X-Event-Type"], headers["X-Event-ID"]) == (
        *("1", "message.sent"),
        "evt_first",
    )
    assert headers["User-Agent"].startswith("Posthorn/")
    assert told["is_accepted"]
    assert {name: told[name] for name in ("event_id", "event_type", "status", "attempt", "is_past")} == {
        "event_id": "evt_first",
        "event_type": "message.sent",
        "status": 204,
        "attempt": 1,
        "is_past": False,
    }


async def test_a_secret_can_stay_the_same(session: Session, local: App) -> None:
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    environ = session.environ | {"POSTHORN_LISTEN_SECRET": secret}
    async with following(environ, "listen", "--forward-to", local.url) as listening:
        assert (await listening.next("listening"))["secret"] is None
        await listening.next("open")
        await session.publish("evt_1")
        await listening.next("forwarded")
    [(headers, body)] = local.posts
    assert Webhook([secret]).verify(body, dict(headers)).id == "evt_1"


async def test_what_was_refused_says_why(session: Session, local: App) -> None:
    async def refuse(event_id: str) -> web.Response:
        page = "<!doctype html>\n<title>500 Internal Server Error</title>\n<h1>Oh</h1>"
        return web.Response(status=500, text=page, content_type="text/html")

    local.answer = refuse
    async with following(session.environ, "listen", "--forward-to", local.url) as listening:
        await listening.next("open")
        await session.publish("evt_1")
        told = await listening.next("forwarded")
        assert (told["is_accepted"], told["status"], told["reason"]) == (False, 500, "http_status")
        assert told["reply"] == "500 Internal Server Error"
    nowhere = f"http://127.0.0.1:{free_port()}/"
    async with following(session.environ, "listen", "--forward-to", nowhere) as listening:
        await listening.next("open")
        await session.publish("evt_2")
        told = await listening.next("forwarded")
        assert (told["is_accepted"], told["status"], told["reason"]) == (False, None, "connect_refused")


async def test_only_what_is_asked_for_is_forwarded(session: Session, local: App) -> None:
    match = json.dumps({"match": {"data.message.text": {"prefix": "yes"}}})
    wanted = ("--event-types", "message.*,link.clicked", "--filter", match)
    async with following(session.environ, "listen", "--forward-to", local.url, *wanted) as listening:
        await listening.next("open")
        await session.publish("evt_1", text="no")
        await session.publish("evt_2", text="yes, once")
        await session.publish("evt_3", event_type="link.clicked")
        await session.publish("evt_4", event_type="message.delivered", text="yes, twice")
        assert [each["event_id"] for each in await listening.several(2)] == ["evt_2", "evt_4"]


async def test_nothing_is_missed_or_repeated_while_the_connection_is_away(session: Session, local: App) -> None:
    port = int(session.town.url.rpartition(":")[2])
    async with Relay("127.0.0.1", port) as relay:
        environ = session.environ | {"POSTHORN_API_URL": f"http://127.0.0.1:{relay.port}"}
        async with following(environ, "listen", "--forward-to", local.url) as listening:
            await listening.next("open")
            await session.publish("evt_0", "evt_1")
            await listening.several(2)
            relay.cut()
            await session.publish("evt_2")
            assert (await listening.next("forwarded"))["event_id"] == "evt_2"
            await relay.close()
            assert (await listening.next("lost"))["why"]
            await session.publish("evt_3", "evt_4")
            await relay.open()
            await listening.several(2)
            await session.publish("evt_5")
            await listening.next("forwarded")
    assert local.ids == [f"evt_{number}" for number in range(6)]
    kinds = [each["kind"] for each in listening.records if each["kind"] not in {"forwarded", "listening"}]
    assert kinds == ["open", "lost", "reconnected", "lost", "reconnected"]


@pytest.mark.parametrize("answer_bytes_max", [5_000, 7_001])
async def test_nothing_is_missed_or_repeated_if_each_connection_is_cut_within_an_event(
    session: Session, local: App, answer_bytes_max: int
) -> None:
    ids = [f"evt_{number:02}" for number in range(12)]
    async with Relay("127.0.0.1", int(session.town.url.rpartition(":")[2])) as relay:
        environ = session.environ | {"POSTHORN_API_URL": f"http://127.0.0.1:{relay.port}"}
        async with following(environ, "listen", "--forward-to", local.url) as listening:
            await listening.next("open")
            relay.answer_bytes_max = answer_bytes_max
            await session.publish(*ids)
            await listening.several(len(ids))
    assert local.ids == ids
    lost = [each for each in listening.records if each["kind"] == "lost"]
    assert len(lost) > 1, "hardly a cut: the test shows nothing"


async def test_the_past_comes_first_and_joins_the_present(session: Session, local: App) -> None:
    ids = [f"evt_{number:03}" for number in range(60)]
    await session.publish(*ids[:40])
    gate = asyncio.Event()

    async def wait(event_id: str) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    local.answer = wait
    arguments = ("listen", "--forward-to", local.url, "--replay-since", "1h")
    async with following(session.environ, *arguments) as listening:
        await listening.next("open")
        await session.publish(*ids[40:])  # while the past waits
        gate.set()
        told = await listening.several(60)
    assert local.ids == [each["event_id"] for each in told] == ids
    is_past = [each["is_past"] for each in told]
    assert is_past[:40] == [True] * 40


async def test_a_slow_app_gets_everything_in_order(session: Session, local: App) -> None:
    """More than fits into any buffer on the way: what the stream leaves out, the list has."""
    gate, count, text = asyncio.Event(), 90, "x" * 200_000

    async def wait(event_id: str) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    local.answer = wait
    async with following(session.environ, "listen", "--forward-to", local.url, "--timeout", "300") as listening:
        await listening.next("open")
        ids = [f"evt_{number:03}" for number in range(count)]
        await session.publish(*ids, text=text)
        gate.set()
        await listening.several(count)
        assert local.ids == ids
        gaps = [each for each in listening.records if each["kind"] == "gap"]
        assert gaps, "the stream took it all: the test shows nothing"
        assert gaps[0]["reason"] == "slow"
        await session.publish("evt_last")
        assert (await listening.next("forwarded"))["event_id"] == "evt_last"


async def test_several_may_be_under_way_at_once(session: Session, local: App) -> None:
    both = asyncio.Barrier(2)

    async def meet(event_id: str) -> web.Response:
        await both.wait()
        return web.Response(status=204)

    local.answer = meet
    async with following(session.environ, "listen", "--forward-to", local.url, "--at-once", "2") as listening:
        await listening.next("open")
        await session.publish("evt_1", "evt_2")
        await listening.several(2)


async def test_a_revoked_key_ends_it(session: Session, local: App) -> None:
    async with following(session.environ, "listen", "--forward-to", local.url) as listening:
        await listening.next("open")
        await KeyStore(session.town.engine).revoke(session.key_id, by=SOMEBODY)
        assert await listening.end() == 1
        assert (await listening.said()).startswith(
            "The API key was revoked. Give another one; whoever runs the service"
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--forward-to", "ftp://localhost/"), "--forward-to: "),
        (("--forward-to", "http://169.254.169.254/"), "--forward-to: "),
        (("--forward-to", "http://localhost/", "--event-types", "Message"), "neither an event type nor a pattern"),
        (("--forward-to", "http://localhost/", "--filter", "{"), "--filter: is not JSON"),
        (("--forward-to", "http://localhost/", "--filter", '{"match":{"data.x":{"eqq":1}}}'), "did you mean 'eq'?"),
        (("--forward-to", "http://localhost/", "--filter", "@/nowhere"), "--filter: /nowhere: No such file"),
        (("--forward-to", "http://localhost/", "--replay-since", "yesterday"), "--replay-since: 'yesterday'"),
        (("--forward-to", "http://localhost/", "--secret", "whsec_x"), "--secret: "),
    ],
)
async def test_what_cannot_be_done_is_said(
    posthorn: Run, api_url: str, arguments: tuple[str, ...], sentence: str
) -> None:
    done = await posthorn(
        "listen", *arguments, POSTHORN_API_URL=api_url, POSTHORN_API_KEY="ph_live_" + "0" * 16 + "_" + "a" * 43
    )
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err, done.err


@pytest.fixture
def api_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_attempts_are_told_as_they_are_settled(session: Session, local: App) -> None:
    async def answer(event_id: str) -> web.Response:
        return web.Response(
            status=410 if event_id == "evt_gone" else 204, text="no more\n" if event_id == "evt_gone" else ""
        )

    local.answer = answer
    made = await session.town.administration.add_endpoint(session.organization_id, local.url, ["message.sent"])
    tail = ("tail", "--endpoint", made.id)
    async with (
        following(session.environ, *tail) as every,
        following(session.environ, *tail, "--failed", "--event-types", "message.*") as failed,
    ):
        await every.next("open")
        await failed.next("open")
        await session.publish("evt_1", "evt_gone")
        first, second = await every.several(2, "attempt")
        assert {each["event_id"]: each["status"] for each in (first, second)} == {"evt_1": 204, "evt_gone": 410}
        assert (await failed.next("attempt"))["event_id"] == "evt_gone"
