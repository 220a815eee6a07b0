"""A request as it is written in each of six languages, ready to run.

Each is a function from a ``Request`` to code; the key comes from the environment, and what the reader may fill in on
the page is a slot.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from service.api.documents.page.highlight import slot
from service.api.documents.page.literals import JSON, NODE, PHP, PYTHON, RUBY, literal

KEY: Final = "API_KEY"

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_BY_SEGMENT: Final = {"webhook-keys": "ENDPOINT_ID"}
_USUAL: Final[Mapping[str, str]] = {
    "ENDPOINT_ID": "ep_7k2m9x4c1v8b3n6h",
    "EVENT_ID": "evt_01JD5Z7Q8M3V9K2B4N6P8R0T1W",
    "DELIVERY_ID": "dlv_0193ab6e7c5d7a10b3f24c9d8e7f0c12_17",
    "MESSAGE_ID": "msg_7f8a9b0c",
    "REPLAY_ID": "rpl_7k2m9x4c1v8b3n6h",
    "KEY_ID": "0a1b2c3d4e5f6a7b",
    "EVENT_TYPE": "order.placed",
}
_GO_FAILS: Final = "if err != nil {\n\t\tlog.Fatal(err)\n\t}"


@dataclass(frozen=True, slots=True)
class Request:
    """What an example sends. ``path`` is a template; ``has_body`` with ``body`` None sends null."""

    method: str
    base_url: str
    path: str
    query: Mapping[str, Any]
    body: Any = None
    has_body: bool = False
    needs_key: bool = True

    def slots(self) -> Mapping[str, str]:
        """The parameters of the path: from each one's name there to its name on the whole page."""
        return {name: _slot_name(self.path, name) for name in _PARAMETER.findall(self.path)}

    def url(self, shown: Callable[[str], str]) -> str:
        """The path with its parameters as ``shown``, and the query."""
        names = self.slots()
        path = _PARAMETER.sub(lambda found: shown(names[found[1]]), self.path)
        query = "&".join(f"{name}={quote(str(value), safe=':*,')}" for name, value in self.query.items())
        return f"{path}?{query}" if query else path


def _slot_name(path: str, parameter: str) -> str:
    """Name a parameter after what it is: ``{id}`` in ``/endpoints/{id}`` is ENDPOINT_ID on the whole page."""
    if parameter.endswith("_id"):
        return parameter.upper()
    before = path.partition(f"/{{{parameter}}}")[0].rpartition("/")[2]
    if before in _BY_SEGMENT:
        return _BY_SEGMENT[before]
    one = (f"{before[:-3]}y" if before.endswith("ies") else before.removesuffix("s")).upper().replace("-", "_")
    return f"{one}_ID" if parameter == "id" else one


def usual_value(name: str) -> str:
    """What stands in an example until the reader gives a value of their own."""
    return _USUAL.get(name, "…" if name == KEY else "1")


def _shown(name: str) -> str:
    return slot(name, usual_value(name))


def _whole_url(request: Request) -> str:
    return f"{request.base_url}{request.url(_shown)}"


def curl(request: Request) -> str:
    """A command that uses the variables set in the first steps."""
    method = "" if request.method == "GET" else f"-X {request.method} "
    lines = [f'curl -sS {method}"$API_URL{request.url(lambda name: slot(name, f"${name}"))}"']
    if request.needs_key:
        lines.append(f'-H "Authorization: Bearer {slot(KEY, f"${KEY}")}"')
    if request.has_body:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(literal(request.body, JSON))}")
    return " \\\n  ".join(lines)


def python(request: Request) -> str:
    """With ``requests``."""
    lines = [f'"{_whole_url(request)}",']
    if request.needs_key:
        lines.append('headers={"Authorization": f"Bearer {key}"},')
    if request.has_body:
        lines.append(f"json={literal(request.body, PYTHON, '    ', used=6)},")
    call = "\n".join(f"    {line}" for line in [*lines, "timeout=10,"])
    before = "import os, requests\n\n" if request.needs_key else "import requests\n\n"
    key = slot(KEY, f'os.environ["{KEY}"]', is_quoted=True)
    read = f"key = {key}\n"
    return (
        f"{before}{read if request.needs_key else ''}answer = requests.{request.method.lower()}(\n{call}\n)\n"
        "answer.raise_for_status()\nprint(answer.text)"
    )


def node(request: Request) -> str:
    """With what Node brings along; as a module."""
    options = [] if request.method == "GET" else [f'method: "{request.method}",']
    headers = ["Authorization: `Bearer ${key}`"] if request.needs_key else []
    headers += ['"Content-Type": "application/json"'] if request.has_body else []
    if len(headers) > 1:
        options.append("headers: {\n    " + ",\n    ".join(headers) + ",\n  },")
    elif headers:
        options.append(f"headers: {{ {headers[0]} }},")
    if request.has_body:
        options.append(f"body: JSON.stringify({literal(request.body, NODE, '  ', used=22)}),")
    inner = "\n".join(f"  {line}" for line in options)
    read = f"const key = {slot(KEY, f'process.env.{KEY}', is_quoted=True)};\n" if request.needs_key else ""
    call = f'fetch("{_whole_url(request)}", {{\n{inner}\n}})' if options else f'fetch("{_whole_url(request)}")'
    fails = "if (!answer.ok) throw new Error(await answer.text());"
    return f"{read}const answer = await {call};\n{fails}\nconsole.log(await answer.text());"


def go(request: Request) -> str:
    """With the standard library; one file."""
    lines, body = [], "nil"
    if request.has_body:
        text = literal(request.body, JSON).replace("`", '` + "`" + `')
        lines.append(f"body := strings.NewReader(`{text}`)")
        body = "body"
    lines.append(f'request, err := http.NewRequest("{request.method}", "{_whole_url(request)}", {body})')
    lines.append(_GO_FAILS)
    if request.needs_key:
        key = slot(KEY, f'os.Getenv("{KEY}")', is_quoted=True)
        lines.append(f'request.Header.Set("Authorization", "Bearer "+{key})')
    if request.has_body:
        lines.append('request.Header.Set("Content-Type", "application/json")')
    lines += ["answer, err := http.DefaultClient.Do(request)", _GO_FAILS, "defer answer.Body.Close()"]
    lines += ["log.Println(answer.Status)", "io.Copy(os.Stdout, answer.Body)"]
    imports = ["io", "log", "net/http", "os", *(["strings"] if request.has_body else [])]
    named = "\n".join(f'\t"{name}"' for name in imports)
    inner = "\n".join(f"\t{line}" for line in lines)
    return f"package main\n\nimport (\n{named}\n)\n\nfunc main() {{\n{inner}\n}}"


def php(request: Request) -> str:
    """With streams, which every PHP has."""
    headers = []
    if request.needs_key:
        key = slot(KEY, f'getenv("{KEY}")', is_quoted=True)
        headers.append(f'"Authorization: Bearer " . {key}')
    headers += ['"Content-Type: application/json"'] if request.has_body else []
    options = [f'"method" => "{request.method}"'] if request.method != "GET" else []
    if headers:
        options.append('"header" => [\n        ' + ",\n        ".join(headers) + ",\n    ]")
    if request.has_body:
        options.append(f'"content" => json_encode({literal(request.body, PHP, "    ", used=25)})')
    options.append('"ignore_errors" => true')
    inner = "".join(f"    {each},\n" for each in options)
    return (
        f'<?php\n$context = stream_context_create(["http" => [\n{inner}]]);\n'
        f'$answer = file_get_contents("{_whole_url(request)}", false, $context);\n'
        'echo $http_response_header[0], "\\n", $answer;'
    )


def ruby(request: Request) -> str:
    """With the standard library."""
    lines = [f'uri = URI("{_whole_url(request)}")', f"request = Net::HTTP::{request.method.capitalize()}.new(uri)"]
    if request.needs_key:
        key = slot(KEY, f'ENV.fetch("{KEY}")', is_quoted=True)
        lines.append(f'request["Authorization"] = "Bearer " + {key}')
    if request.has_body:
        lines.append('request["Content-Type"] = "application/json"')
        lines.append(f"request.body = JSON.generate({literal(request.body, RUBY, '', used=29)})")
    lines.append('answer = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https") do |http|')
    lines.append("  http.request(request)\nend")
    lines.append("puts answer.code, answer.body")
    needed = ['require "json"'] if request.has_body else []
    return "\n".join([*needed, 'require "net/http"', "", *lines])


LANGUAGES: Final[Mapping[str, Callable[[Request], str]]] = {
    "curl": curl,
    "Python": python,
    "Node": node,
    "Go": go,
    "PHP": php,
    "Ruby": ruby,
}
"""What the page's tabs are called, in their order."""
