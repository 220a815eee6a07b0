"""What an API answers must not control the terminal of whoever asked it."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.cli.live.screen import Screen
from service.cli.terminal import print_fields, print_json
from tests.cli.command import run_posthorn

HOSTILE = "a\x1b]0;x\x07\r\n\x9b2Jb"
SHOWN = r"a\x1b]0;x\x07\r\n\x9b2Jb"
KEY = "ph_live_0001020304050607_" + "a" * 43
ANSWERS = {
    "/v1/me": {"organization_id": HOSTILE, "key": {"scopes": [HOSTILE]}},
    "/v1/events": {"data": [{"id": HOSTILE, "type": HOSTILE, "received_at": HOSTILE}], "next_cursor": HOSTILE},
    "/v1/events/evt_1": {"id": "evt_1", HOSTILE: [HOSTILE, {HOSTILE: [HOSTILE]}]},
    "/v1/events/evt_1/explain": {"summary": {"sentence": HOSTILE}, "data": [], "next_cursor": HOSTILE},
    "/v1/portal-links": {"url": HOSTILE},
}


@pytest.fixture
async def hostile_url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(ANSWERS[request.path])

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    "command",
    [
        ("events", "list"),
        ("events", "show", "evt_1"),
        ("events", "explain", "evt_1"),
        ("portal-links", "create"),
        ("events", "list", "--organization", "org_mine"),
        ("profiles", "add", "mine", "--api-url", "{url}", "--key", KEY),
    ],
    ids=" ".join,
)
async def test_no_answer_controls_the_terminal(
    hostile_url: str, bare_environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    environ = {**bare_environment, "XDG_CONFIG_HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    if command[0] != "profiles":
        environ |= {"POSTHORN_API_URL": hostile_url, "POSTHORN_API_KEY": KEY}
    told = await run_posthorn(environ, *(each.format(url=hostile_url) for each in command))
    said = told.out + told.err
    assert SHOWN in said
    assert [each for each in said if not each.isprintable() and each != "\n"] == []


def test_names_and_items_are_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({HOSTILE: [HOSTILE, None], "b": ()})
    print_fields({})
    width = len(SHOWN)
    assert capsys.readouterr().out == f"{SHOWN}  {SHOWN}, -\n{'b':<{width}}  -\n"


CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
LONE = "\ud800"
"""Half of a pair: JSON may have it, UTF-8 cannot."""


def print_record(document: object) -> None:
    Screen(as_json=True).result({"kind": "attempt", "document": document}, lambda _: ())


@pytest.mark.parametrize("write", [print_json, print_record])
def test_json_is_text_that_a_terminal_shows(
    write: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    document = {f"name {CONTROLS}": [CONTROLS, LONE, "é☃😀"]}
    write(document)
    out = capsys.readouterr().out
    assert [each for each in out if not each.isprintable() and each != "\n"] == []
    assert "é☃😀" in out  # letters stay readable
    read = json.loads(out)
    assert read.get("document", read) == document
