"""What the documents say is so."""

import re
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service import __version__
from service.adapters.observers.metrics import MetricsObserver
from service.core.events.event import Event, parse_event
from service.core.events.types.operational import OPERATIONAL
from service.core.reason import ParkReason
from service.settings import Settings, environment_name
from service.settings.environment import CLIENT_NAMES
from tests.architecture.readable import Example, anchors, examples, links
from webhook_signature import Webhook
from webhook_signature.styles import STYLES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("receiver/*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs/operating.md").read_text(encoding="utf-8")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in links(path.read_text(encoding="utf-8")):
        place, _, anchor = target.partition("#")
        there = (path.parent / place).resolve() if place else path
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"`([\w/]+/[\w/]*\.(?:py|json|toml|txt))`", path.read_text(encoding="utf-8"))
    places = (ROOT, ROOT / "service", ROOT / "receiver")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    latest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert latest is not None
    assert {project["version"], latest[1], __version__} == {__version__}
    assert f"image: posthorn:{__version__}" in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def _settings_table() -> dict[str, str]:
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", table, re.MULTILINE)
    told: dict[str, str] = {}
    for names, defaults in rows:
        each = re.findall(r"`(\w+)`", names)
        told |= dict(zip(each, defaults.split(", ") if len(each) > 1 else [defaults], strict=False))
        told |= {name: told.get(name, defaults) for name in each}
    return told


def test_the_readme_tells_every_setting_and_its_default() -> None:
    told = _settings_table()
    fields = {environment_name(name): field for name, field in Settings.model_fields.items() if name != "sources"}
    assert told.keys() == fields.keys()
    for name, default in told.items():
        value = fields[name].default
        if isinstance(value, bool):
            assert default == str(value).lower(), name
        elif isinstance(value, int | float):
            assert float(default) == value, name
        elif isinstance(value, str):
            assert default.strip("`") == value, name
        elif value:
            assert default.strip("`") == ",".join(value), name
        else:
            assert value in {None, ()}, name


@pytest.mark.parametrize("path", [ROOT / "docker-compose.yml", *DOCUMENTS], ids=_name)
def test_no_document_names_a_setting_that_does_not_exist(path: Path) -> None:
    known = {environment_name(name) for name in Settings.model_fields} | CLIENT_NAMES
    named = set(re.findall(r"\bPOSTHORN_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named <= known | {f"{name}_FILE" for name in known}


def test_the_runbook_tells_every_metric() -> None:
    table = OPERATING.partition("## Metrics")[2].partition("\n## ")[0]
    told: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE):
        told |= {name: set(labels.split(",")) - {""} for name, labels in re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", row)}
    assert told == _metrics()


def _metrics() -> dict[str, set[str]]:
    found = {}
    registry = MetricsObserver().registry
    for collector in set(registry._collector_to_names):
        inside: dict[str, Any] = {"_type": getattr(collector, "_type", ""), **vars(collector)}
        name = str(inside.get("_name", ""))
        if name.startswith("posthorn_"):
            suffix = "_total" if inside["_type"] == "counter" else ""
            found[name.removeprefix("posthorn_") + suffix] = set(inside["_labelnames"])
    return found


def test_the_runbook_tells_what_to_do_about_every_parked_message() -> None:
    parked = OPERATING.partition("### Something was parked")[2].partition("\n### ")[0]
    told = {
        name for row in re.findall(r"^\| (`[^|]*) \|", parked, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert told == set(ParkReason)


@pytest.mark.parametrize(
    ("path", "heading"),
    [("docs/operating.md", "## Operational events"), ("docs/receiving.md", "## Hear of what went wrong")],
)
def test_every_operational_event_is_told(path: str, heading: str) -> None:
    told = (ROOT / path).read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", told, re.MULTILINE)) == set(OPERATIONAL)


def _ids(example: Example) -> str:
    return f"{example.document}:{example.line}"


@pytest.mark.clock
@pytest.mark.parametrize("example", examples([ROOT / "docs/operating.md"], ROOT, "sql"), ids=_ids)
async def test_the_runbooks_sql_runs(example: Example, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetch(example.text)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "path", ["docs/receiving.md", "receiver/README.md", "service/api/documents/page/templates/prose/signatures.html"]
)
def test_every_signature_style_is_described(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert [name for name in STYLES if not re.search(rf"[`\">]{re.escape(name)}[`\"<]", text)] == []


@pytest.mark.clock
def test_the_readmes_receiver_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    program: dict[str, Any] = {}
    example, _ = examples([ROOT / "README.md"], ROOT, "python")
    exec(compile(example.text, "README.md", "exec"), program)  # noqa: S102 - our own document
    webhook = Webhook([secret])
    body = b'{"id":"evt_1"}'
    headers = webhook.sign("evt_1", int(time.time()), body)
    assert program["receive"](body, headers) == (204, "evt_1")
    assert program["receive"](body + b" ", headers) == (400, "no_match")


def test_the_readmes_event_is_one() -> None:
    (example,) = examples([ROOT / "README.md"], ROOT, "json")
    event = parse_event(example.text.encode(), datetime(2026, 11, 21, tzinfo=UTC))
    assert isinstance(event, Event)
