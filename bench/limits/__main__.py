"""Measure what one organization's trouble costs its neighbours: ``python -m bench.limits NAME [options]``.

Each measurement makes its own database and queues, drops them at the end, and prints one JSON document. Everything
runs on the loopback interface. ``all`` runs every row of the table in bench/README.md in turn, in twenty minutes.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType, ModuleType
from typing import Any

from bench.limits import (
    backlog,
    churn,
    handshakes,
    hung,
    killed,
    large,
    loading,
    memory,
    organizations,
    poison,
    replay,
    retention,
    strangers,
    streams,
    wide,
)
from bench.limits.stage import ROOT, Servers, Stage

MEASUREMENTS: Mapping[str, ModuleType] = MappingProxyType(
    {
        "hung": hung,
        "poison": poison,
        "large": large,
        "wide": wide,
        "churn": churn,
        "loading": loading,
        "backlog": backlog,
        "organizations": organizations,
        "handshakes": handshakes,
        "memory": memory,
        "killed": killed,
        "strangers": strangers,
        "streams": streams,
        "retention": retention,
        "replay": replay,
    }
)

ROWS: Mapping[str, str] = MappingProxyType(
    {
        "hung-50": "hung",
        "hung-600": "hung --count 600",
        "hung-600-at-once": "hung --count 600 --onset-rate 500",
        "hung-10000": "hung --count 10000 --seconds 80",
        "hung-10000-at-once": "hung --count 10000 --onset-rate 500 --bad-rate 500 --seconds 10",
        "black-50": "hung --bad black",
        "black-600": "hung --bad black --count 600",
        "drip-50": "hung --bad drip",
        "slow-50": "hung --bad slow",
        "slow-600": "hung --bad slow --count 600",
        "poison": "poison",
        "large": "large",
        "wide": "wide",
        "churn": "churn",
        "loading": "loading",
        "backlog-1": "backlog",
        "backlog-1000": "backlog --endpoints 1000",
        "organizations": "organizations",
        "handshakes": "handshakes",
        "memory": "memory",
        "killed": "killed",
        "stopped": "killed --how stop",
        "strangers": "strangers",
        "streams": "streams",
        "streams-restarts": "streams --pairs 0",
        "retention": "retention",
        "replay": "replay",
    }
)
"""What ``all`` runs, by the name of its result."""

_NOT_SHOWN = {"name", "database_url", "amqp_url", "service", "python", "json", "json_dir", "patience"}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement on a stage of its own."""
    servers = Servers(
        options.database_url, options.amqp_url, options.service.resolve(), options.python, options.patience
    )
    started, load = time.monotonic(), os.getloadavg()[0]
    async with Stage(servers) as stage:
        found = await MEASUREMENTS[options.name].measure(stage, options)
    return {
        "measurement": options.name,
        "options": {key: value for key, value in vars(options).items() if key not in _NOT_SHOWN},
        **found,
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "took_seconds": round(time.monotonic() - started, 1),
    }


def run_all(options: argparse.Namespace) -> None:
    """Every row in turn; one that fails is told, and does not keep the others from being measured."""
    options.json_dir.mkdir(parents=True, exist_ok=True)
    shared = [f"--database-url={options.database_url}", f"--amqp-url={options.amqp_url}"]
    shared += [f"--service={options.service}", f"--python={options.python}"]
    parser = parser_of()
    for name, command in ROWS.items():
        try:
            found = asyncio.run(run(parser.parse_args([*command.split(), *shared])))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is told, and the next one is another matter
            found = {"measurement": name, "failed": f"{type(error).__name__}: {error}"}
        print(f"{name}: {json.dumps(found)}", flush=True)
        file = options.json_dir / f"{name}.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        file.write_text(_text({**kept, options.kept_as: found}), encoding="utf-8")


def parser_of() -> argparse.ArgumentParser:
    """The command line: a subcommand for each measurement."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--database-url", default="postgresql://postgres@127.0.0.1:5432/postgres")
    shared.add_argument("--amqp-url", default="amqp://guest:guest@127.0.0.1:5672/")
    shared.add_argument("--service", type=Path, default=ROOT, help="the checkout of the service to measure")
    shared.add_argument("--python", default=sys.executable, help="the Python that runs the service")
    shared.add_argument("--patience", type=float, default=40, help="seconds to wait for what has not arrived")
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in MEASUREMENTS.items():
        sentence = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=sentence, description=module.__doc__, parents=[shared])
        command.add_argument("--json", type=Path, help="also write the JSON to this file")
        module.add_options(command)
    every = commands.add_parser("all", help="All of them in turn, a file for each.", parents=[shared])
    every.add_argument("--json-dir", type=Path, required=True, help="where the files go")
    every.add_argument(
        "--as", dest="kept_as", choices=("before", "now"), default="now", help="which half of each file to write"
    )
    return parser


def _text(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=1) + "\n"


def _leave(number: int, _: FrameType | None) -> None:
    """End as if by an error, so that everything started is ended and everything made is dropped."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    signal.signal(signal.SIGTERM, _leave)
    options = parser_of().parse_args(arguments)
    if options.name == "all":
        run_all(options)
        return
    text = _text(asyncio.run(run(options)))
    print(text, end="")
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
