"""Read settings from variables, or for mounted secrets from ``NAME_FILE``, and report unknown names."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from service.core.suggestion import did_you_mean

PREFIX: Final = "POSTHORN_"
FILE_SUFFIX: Final = "_FILE"
CLIENT_NAMES: Final = frozenset(
    PREFIX + name for name in ("API_URL", "API_KEY", "API_KEY_FILE", "PROFILE", "LISTEN_SECRET")
)
"""What commands read that talk to a service over HTTP; no settings of the service itself."""

Source = Literal["default", "environment", "file"]

# Kubernetes puts POSTHORN_SERVICE_HOST, POSTHORN_PORT=tcp://… and the like for a Service named posthorn.
_SERVICE_LINK_NAME = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?")
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(slots=True)
class Environment:
    """Raw values and their sources, by variable name, and the problems found so far."""

    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_environment(environ: Mapping[str, str], names: Collection[str]) -> Environment:
    """Read the variables called ``names``. An empty variable counts as unset."""
    found = Environment()
    for name in names:
        _read(name, environ, found)
    known = set(names) | {name + FILE_SUFFIX for name in names}
    for name in sorted(environ.keys() - CLIENT_NAMES):
        if name.upper().startswith(PREFIX) and name not in known and not _is_service_link(name, environ[name]):
            found.problems.append(_unknown(name, known))
    return found


def _read(name: str, environ: Mapping[str, str], found: Environment) -> None:
    value, path = environ.get(name, "").strip(), environ.get(name + FILE_SUFFIX, "").strip()
    if value and path:
        found.problems.append(f"{name}: set {name} or {name + FILE_SUFFIX}, not both")
    elif path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            found.problems.append(f"{name + FILE_SUFFIX}: {path!r} cannot be read: {why}")
            return
        if not value:
            found.problems.append(f"{name + FILE_SUFFIX}: {path!r} is empty")
            return
    if value:
        found.values[name] = value
        found.sources[name] = "file" if path else "environment"


def _unknown(name: str, known: Collection[str]) -> str:
    return f"{name}: no such setting{did_you_mean(name.upper(), known)}"


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK_NAME.fullmatch(name) or _SERVICE_LINK_VALUE.fullmatch(value))
