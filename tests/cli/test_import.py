"""import: shown first, done with --apply, and repeated without harm."""

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.adapters.rapidpro_server import TOKEN, RapidProServer, rapidpro, resthook, status, subscriber, throttled
from tests.cli.command import Finished, Run
from tests.core.test_imports import CONVOY, SVIX

ORGANIZATION = ("--organization", "org_a")
SUBSCRIBERS = [
    subscriber(11, "new-mother", "https://hooks.example/a"),
    subscriber(12, "new-father", "https://hooks.example/a"),
    subscriber(13, "message.sent", "https://hooks.example/b"),
    subscriber(14, "new-mother", "https://10.0.0.1/inside"),
]
RESTHOOKS = [resthook("new-mother"), resthook("new-father"), resthook("nobody-listens")]


@pytest.fixture(autouse=True)
async def organization(posthorn: Run) -> None:
    assert (await posthorn("keys", "create", *ORGANIZATION)).code == 0


async def counts(database_url: str) -> tuple[int, ...]:
    """Endpoints, own event types, entries in the audit log."""
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow(
        """SELECT (SELECT count(*) FROM endpoints), (SELECT count(*) FROM event_types),
                  (SELECT count(*) FROM audit_log)"""
    )
    await connection.close()
    return tuple(row)


async def take(posthorn: Run, server: RapidProServer, *options: str) -> Finished:
    return await posthorn(
        "import", "rapidpro", *ORGANIZATION, "--url", server.url, *options, "--json", RAPIDPRO_TOKEN=TOKEN
    )


def what(finished: Finished) -> list[str]:
    return [each["what"] for each in finished.json["endpoints"]]


async def test_a_dry_run_shows_what_would_be_done_and_changes_nothing(posthorn: Run, database_url: str) -> None:
    before = await counts(database_url)
    async with rapidpro(resthooks=RESTHOOKS, subscribers=SUBSCRIBERS, page_size=1) as server:
        shown = await take(posthorn, server)
    assert shown.code == 1  # one is refused
    assert shown.json["applied"] is False
    assert what(shown) == ["new", "new", "refused"]
    assert shown.json["endpoints"][0] == {
        "what": "new",
        "url": "https://hooks.example/a",
        "event_types": ["resthook.new_mother", "resthook.new_father"],
        "ids": ["11", "12"],
        "is_paused": False,
        "endpoint_id": None,
        "secret": None,
        "public_key": None,
        "notes": [],
    }
    assert shown.json["endpoints"][2]["notes"][0].startswith("url: ")
    assert {each["theirs"]: each["is_new"] for each in shown.json["event_types"]} == {
        "message.sent": False,
        "new-father": True,
        "new-mother": True,
        "nobody-listens": True,
    }
    assert await counts(database_url) == before


async def test_applied_twice_it_is_done_once(posthorn: Run, database_url: str) -> None:
    async with rapidpro(resthooks=RESTHOOKS, subscribers=SUBSCRIBERS) as server:
        done = await take(posthorn, server, "--apply")
        after = await counts(database_url)
        again = await take(posthorn, server, "--apply")
        assert await counts(database_url) == after
    assert what(done) == ["new", "new", "refused"]
    assert done.json["endpoints"][0]["secret"].startswith("whsec_")
    assert what(again) == ["same", "same", "refused"]
    assert again.json["endpoints"][0]["endpoint_id"] == done.json["endpoints"][0]["endpoint_id"]
    listed = await posthorn("endpoints", "list", *ORGANIZATION, "--json")
    assert {tuple(each["event_types"]) for each in listed.json["data"]} == {
        ("resthook.new_mother", "resthook.new_father"),
        ("message.sent",),
    }


async def test_an_endpoint_that_is_here_gets_event_types_added(posthorn: Run) -> None:
    options = ("--url", "https://hooks.example/a", "--event-types", "link.clicked")
    added = await posthorn("endpoints", "add", *ORGANIZATION, *options, "--json")
    async with rapidpro(subscribers=SUBSCRIBERS[:2]) as server:
        shown = await take(posthorn, server, "--map", "new-mother=mother.registered")
        done = await take(posthorn, server, "--map", "new-mother=mother.registered", "--apply")
    assert (shown.code, done.code, what(shown), what(done)) == (0, 0, ["more types"], ["more types"])
    assert done.json["endpoints"][0]["endpoint_id"] == added.json["id"]
    assert done.json["endpoints"][0]["secret"] is None
    listed = await posthorn("endpoints", "list", *ORGANIZATION, "--json")
    (types,) = (each["event_types"] for each in listed.json["data"])
    assert types == ["link.clicked", "mother.registered", "resthook.new_father"]


async def test_what_was_read_is_not_read_again(posthorn: Run, tmp_path: Path) -> None:
    save = tmp_path / "rapidpro.json"
    async with rapidpro(resthooks=RESTHOOKS, subscribers=SUBSCRIBERS, page_size=2) as server:
        server.troubles = [lambda _: None, throttled("0"), lambda _: None, lambda _: None, status(403)]
        failed = await take(posthorn, server, "--save", str(save))
        assert (failed.code, failed.out) == (1, "")
        assert "does not accept the token" in failed.err
        assert "run this again to go on" in failed.err
        assert save.stat().st_mode & 0o777 == 0o600
        server.asked.clear()
        shown = await take(posthorn, server, "--save", str(save))
        assert server.asked == ["/api/v2/resthook_subscribers.json?cursor=2"]
        assert what(shown) == ["new", "new", "refused"]
        server.asked.clear()
        assert (await take(posthorn, server, "--save", str(save))).json == shown.json
        assert server.asked == []
    from_file = await posthorn("import", "rapidpro", *ORGANIZATION, "--file", str(save), "--json")
    assert from_file.json == shown.json


async def test_an_answer_of_the_api_may_be_the_file(posthorn: Run, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_text(json.dumps({"next": None, "previous": None, "results": SUBSCRIBERS[:1]}))
    shown = await posthorn("import", "rapidpro", *ORGANIZATION, "--file", str(file))
    assert shown.code == 0
    assert "https://hooks.example/a" in shown.out
    assert "resthook.new_mother: would be registered, for new-mother" in shown.err
    assert "Nothing was changed. The same with --apply does it." in shown.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "Give --url or --file"),
        (("--url", "https://a.example", "--file", "x"), "Give --url or --file"),
        (("--url", "http://a.example"), "https://"),
        (("--url", "nonsense"), "like https://"),
        (("--url", "https://a.example"), "RAPIDPRO_TOKEN"),
        (("--file", "/nowhere/at.all"), "No such file"),
        (("--file", "/dev/null"), "not JSON"),
    ],
)
async def test_wrong_usage_is_said(posthorn: Run, options: tuple[str, ...], says: str) -> None:
    done = await posthorn("import", "rapidpro", *ORGANIZATION, *options)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


async def export(tmp_path: Path, name: str, document: Any) -> str:
    file = tmp_path / name
    file.write_text(json.dumps(document))
    return str(file)


async def test_svix_with_its_secret(posthorn: Run, tmp_path: Path, database_url: str) -> None:
    file = await export(tmp_path, "svix.json", {"data": [SVIX, {**SVIX, "url": 7}], "done": True})
    command = ("import", "svix", *ORGANIZATION, "--file", file, "--json")
    shown = await posthorn(*command)
    assert (shown.code, what(shown)) == (1, ["new"])
    assert shown.json["problems"] == [{"where": "data[1]", "why": "needs id and url"}]
    done = await posthorn(*command, "--apply")
    assert (what(done), done.json["endpoints"][0]["secret"]) == (["new"], SVIX["secret"])
    endpoint_id = done.json["endpoints"][0]["endpoint_id"]
    after = await counts(database_url)
    again = await posthorn(*command, "--apply")
    assert (what(again), await counts(database_url)) == (["same"], after)
    listed = await posthorn("endpoints", "list", *ORGANIZATION, "--json")
    assert [each["state"] for each in listed.json["data"]] == ["paused"]
    changed = await export(tmp_path, "changed.json", [{**SVIX, "description": "new"}])
    other = await posthorn("import", "svix", *ORGANIZATION, "--file", changed, "--json", "--apply")
    assert (other.code, what(other)) == (0, ["differs"])
    assert other.json["endpoints"][0]["endpoint_id"] == endpoint_id
    assert "stays as it is here: description" in other.json["endpoints"][0]["notes"][-1]
    assert await counts(database_url) == after


@pytest.mark.parametrize("options", [(), ("--json",), ("--apply",), ("--apply", "--json")])
async def test_a_token_in_a_url_is_not_printed(posthorn: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    urls = ("https://hooks.example/a?token=hush", "https://10.0.0.1/a?token=hush")
    file = await export(tmp_path, "svix.json", [{**SVIX, "id": url, "url": url} for url in (*urls, urls[0])])
    for _ in range(2):
        done = await posthorn("import", "svix", *ORGANIZATION, "--file", file, *options)
        assert "https://hooks.example/a?" in done.out
        assert "hush" not in (done.out + done.err).replace(f'"{urls[0]}"', "").replace(f'"{urls[1]}"', "")


async def test_a_dry_run_needs_the_keys_that_urls_are_found_with(posthorn: Run, tmp_path: Path) -> None:
    file = await export(tmp_path, "svix.json", [SVIX])
    shown = await posthorn("import", "svix", *ORGANIZATION, "--file", file, SECRET_KEYS="")
    assert (shown.code, shown.out) == (2, "")
    assert "SECRET_KEYS" in shown.err


@pytest.mark.parametrize(
    ("table", "condition", "made"),
    [("endpoints", "NEW.url = 'https://hooks.example/b'", 1), ("audit_log", "NEW.operation = 'endpoint.pause'", 2)],
)
async def test_what_was_made_before_a_failure_is_shown(
    posthorn: Run, tmp_path: Path, owner_database_url: str, table: str, condition: str, made: int
) -> None:
    """Its secrets are nowhere else; the second endpoint, or pausing it, fails."""
    entry = {name: value for name, value in SVIX.items() if name not in {"secret", "disabled"}}
    entries = [
        {**entry, "id": f"ep_{name}", "url": f"https://hooks.example/{name}", "disabled": name == "b"} for name in "abc"
    ]
    file = await export(tmp_path, "svix.json", entries)
    connection = await asyncpg.connect(owner_database_url)
    await connection.execute(
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'out of order' USING ERRCODE = '57P03'; END $$;
            CREATE TRIGGER fails BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION fail()"""
    )
    try:
        failed = await posthorn("import", "svix", *ORGANIZATION, "--file", file, "--apply", "--json")
    finally:
        await connection.execute("DROP FUNCTION fail CASCADE")
        await connection.close()
    assert failed.code == 1
    assert what(failed) == [*["new"] * made, *["not done"] * (3 - made)]
    assert all(each["secret"].startswith("whsec_") for each in failed.json["endpoints"][:made])
    again = await posthorn("import", "svix", *ORGANIZATION, "--file", file, "--apply")
    assert again.code == 0
    assert f"{made} same" in again.err


async def test_convoy_with_what_is_beyond_our_limits_left_out(posthorn: Run, tmp_path: Path) -> None:
    file = await export(tmp_path, "convoy.json", {"data": {"content": [{**CONVOY, "http_timeout": "2m"}]}})
    done = await posthorn("import", "convoy", *ORGANIZATION, "--file", file, "--apply")
    assert done.code == 0, done.err
    assert "Vuk5LM0uujddIsqO5v_eSuz88" in done.out
    assert "left out: timeout_seconds" in done.out
    again = await posthorn("import", "convoy", *ORGANIZATION, "--file", file, "--apply", "--json")
    assert what(again) == ["same"]
