"""The requests that /docs shows, run in each of their languages; those whose interpreter is missing are skipped."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.api.documents.page.highlight import highlighted, plain, slot
from service.api.documents.page.languages import LANGUAGES, Request
from service.core.events.schema import built_in_types
from tests.end_to_end.known_ids import all_operations

SECRET_KEY = "ph_live_0000000000000000_A"
ENDPOINT = "/v1/endpoints/{id}"
AWKWARD = {
    "text": 'it\'s "quoted", `ticked` and costs $5 #{now}\n',
    "path": {"data.a b": [1, 2.5, True, None], "empty": {}, "none": []},
    "names": ["message.sent", "message.failed", "link.clicked", "message.delivered"],
}


@dataclass(frozen=True)
class Program:
    """How a language's examples are run: the file's name, the command, and what checks the grammar alone."""

    file: str
    command: Sequence[str]
    grammar: Sequence[str]

    @property
    def is_there(self) -> bool:
        return all(shutil.which(each[0]) is not None for each in (self.command, self.grammar))


PROGRAMS = {
    "curl": Program("ask.sh", ["bash", "-eu"], ["bash", "-n"]),
    "Python": Program("ask.py", [sys.executable], [sys.executable, "-m", "py_compile"]),
    "Node": Program("ask.mjs", ["node"], ["node", "--check"]),
    "Go": Program("ask.go", ["go", "run"], ["gofmt", "-e", "-l"]),
    "PHP": Program("ask.php", ["php"], ["php", "-l"]),
    "Ruby": Program("ask.rb", ["ruby"], ["ruby", "-wc"]),
}


@dataclass
class Seen:
    """What came to the server."""

    requests: list[tuple[str, str, str | None, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, request.headers.get("Authorization"), body))
        return web.json_response({"id": "ep_1"}) if request.method != "DELETE" else web.Response(status=204)


@pytest.fixture
async def seen() -> AsyncIterator[tuple[Seen, str]]:
    seen, app = Seen(), web.Application()
    app.router.add_route("*", "/{path:.*}", seen.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield seen, f"http://127.0.0.1:{server.port}"


def need(language: str) -> Program:
    program = PROGRAMS[language]
    if not program.is_there or (language == "curl" and shutil.which("curl") is None):
        pytest.skip(f"{program.command[0]} is not installed, so the examples in {language} were NOT run")
    return program


async def run(language: str, code: str, folder: Path, **variables: str) -> str:
    program = need(language)
    (folder / program.file).write_text(f"{code}\n", "utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *program.command,
        program.file,
        cwd=folder,
        env={**environ, "API_KEY": SECRET_KEY, "GOFLAGS": "-mod=mod", "GO111MODULE": "off", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{code}\n\n{said}"
    return said


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_request_arrives_as_it_is_shown(language: str, seen: tuple[Seen, str], tmp_path: Path) -> None:
    server, url = seen
    asked = [
        Request("GET", url, "/v1/endpoints", {"state": "active"}),
        Request("PATCH", url, ENDPOINT, {}, AWKWARD, has_body=True),
        Request("DELETE", url, ENDPOINT, {}),
        Request("POST", url, "/v1/keys/revoke-leaked", {}, {"key": "x"}, has_body=True, needs_key=False),
    ]
    for each in asked:
        code = plain(LANGUAGES[language](each))
        said = await run(language, code, tmp_path, API_URL=url, ENDPOINT_ID="ep_7k2m9x4c1v8b3n6h")
        assert each.method == "DELETE" or "ep_1" in said
    assert server.requests == [
        ("GET", "/v1/endpoints?state=active", f"Bearer {SECRET_KEY}", None),
        ("PATCH", "/v1/endpoints/ep_7k2m9x4c1v8b3n6h", f"Bearer {SECRET_KEY}", AWKWARD),
        ("DELETE", "/v1/endpoints/ep_7k2m9x4c1v8b3n6h", f"Bearer {SECRET_KEY}", None),
        ("POST", "/v1/keys/revoke-leaked", None, {"key": "x"}),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_key_that_the_reader_filled_in_is_used(language: str, seen: tuple[Seen, str], tmp_path: Path) -> None:
    server, url = seen
    code = LANGUAGES[language](Request("GET", url, ENDPOINT, {}))
    filled = re.sub("\ue000API_KEY\ue001\ue002.*?\ue003", '"ph_live_mine"', code)  # where a literal is wanted
    filled = re.sub("\ue000API_KEY\ue002.*?\ue003", "ph_live_mine", filled)
    filled = re.sub("\ue000ENDPOINT_ID\ue002.*?\ue003", "ep_mine", filled)
    await run(language, plain(filled), tmp_path, API_URL=url)
    assert server.requests == [("GET", "/v1/endpoints/ep_mine", "Bearer ph_live_mine", None)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_operation_is_shown_in_the_languages_grammar(language: str, tmp_path: Path) -> None:
    program = need(language)
    types = built_in_types("org_8Zq1", datetime.now(UTC))
    assert types
    for number, each in enumerate(all_operations()):
        if language not in {"Go", "Python"} and not each.reads_body and number % 6:
            continue  # without a body they differ in their URLs alone, and a process for each takes long
        request = Request(
            each.method, "https://x.example", each.path, {}, each.example, each.reads_body, each.needs_key
        )
        name = tmp_path / f"{number}_{program.file}"
        name.write_text(plain(LANGUAGES[language](request)) + "\n", "utf-8")
        if language == "Python":
            compile(name.read_text("utf-8"), name.name, "exec")
        elif language != "Go":
            subprocess.run([*program.grammar, name], check=True, capture_output=True)
    if language == "Go":
        checked = subprocess.run([*program.grammar, tmp_path], check=True, capture_output=True, text=True)
        assert checked.stdout == "", f"gofmt would write these otherwise: {checked.stdout}"


def test_colours_change_nothing_that_is_read() -> None:
    for language, write in LANGUAGES.items():
        code = write(Request("PATCH", "https://x.example", ENDPOINT, {}, AWKWARD, has_body=True))
        assert re.sub(r"<[^>]+>", "", str(highlighted(code, language.lower()))).replace("&#34;", '"').replace(
            "&#39;", "'"
        ).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&") == plain(code)


def test_a_slot_is_an_element_of_its_own() -> None:
    code = f'-H "Bearer {slot("API_KEY", "$API_KEY")}"'
    assert highlighted(code, "curl") == ('-H <span class=s>"Bearer <var data-of="API_KEY">$API_KEY</var>"</span>')
    literal = f"key = {slot('API_KEY', 'get(1)', is_quoted=True)}"
    assert highlighted(literal, "python") == (
        'key = <var data-of="API_KEY" data-quoted>get(<span class=n>1</span>)</var>'
    )
