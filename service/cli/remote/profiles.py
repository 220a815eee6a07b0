"""Profiles: APIs and the keys for them, stored for the next command in a file that only its owner can read.

``$XDG_CONFIG_HOME/posthorn/profiles.toml``, or ``~/.config/posthorn/profiles.toml``.
"""

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from service.cli.terminal import BAD_USAGE, CommandError
from service.core.suggestion import did_you_mean

FILE_BYTES_MAX: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HEADING: Final = "# Written by 'posthorn profiles'. It holds API keys: nobody else may read it.\n"


@dataclass(frozen=True, slots=True)
class Profile:
    """An API and a key for it."""

    api_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles by name, and the name of the one in use."""

    by_name: Mapping[str, Profile]
    in_use: str | None = None

    @classmethod
    def read(cls) -> Self:
        """Those in the file; none if there is no file. Raises ``CommandError``."""
        path = profiles_path()
        try:
            with path.open("rb") as file:
                _require_private(path, os.fstat(file.fileno()))
                text = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return cls({})
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", BAD_USAGE) from None
        try:
            found = tomllib.loads(text[:FILE_BYTES_MAX].decode())
            by_name = {
                name: Profile(_text(each["api_url"]), _text(each["api_key"]))
                for name, each in found.get("profiles", {}).items()
            }
            in_use = found.get("in_use")
        except (ValueError, KeyError, TypeError, AttributeError):  # without its text, which may quote a key
            raise CommandError(
                f"{path}: cannot be read as profiles. Mend it, or remove it and add them again.", BAD_USAGE
            ) from None
        return cls(by_name, in_use if in_use in by_name else None)

    def find(self, name: str) -> Profile:
        """The profile of this name. Raises ``CommandError``."""
        if name not in self.by_name:
            nearest = did_you_mean(name, self.by_name)
            raise CommandError(
                f"There is no profile {name!r}{nearest or '.'} 'posthorn profiles list' lists them.", BAD_USAGE
            )
        return self.by_name[name]

    def added(self, name: str, profile: Profile) -> "Profiles":
        """With this one more, or in place of one of its name. The first one is in use."""
        return Profiles({**self.by_name, name: profile}, self.in_use or name)

    def using(self, name: str) -> "Profiles":
        """With this one in use. Raises ``CommandError``."""
        self.find(name)
        return replace(self, in_use=name)

    def without(self, name: str) -> "Profiles":
        """Without this one. Raises ``CommandError``."""
        self.find(name)
        rest = {each: profile for each, profile in self.by_name.items() if each != name}
        return Profiles(rest, None if self.in_use == name else self.in_use)

    def write(self) -> None:
        """Replace the file as a whole: dying here leaves the old one. Raises ``CommandError``."""
        path = profiles_path()
        beside = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(
                os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(self._as_toml())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise CommandError(f"{path}: {error.strerror}.", BAD_USAGE) from None

    def _as_toml(self) -> str:
        # JSON's strings of printable ASCII are TOML's, and names need no quotes.
        lines = [_HEADING]
        if self.in_use is not None:
            lines.append(f"in_use = {json.dumps(self.in_use)}\n")
        for name, each in self.by_name.items():
            lines.append(f"\n[profiles.{name}]\n")
            lines += [f"api_url = {json.dumps(each.api_url)}\n", f"api_key = {json.dumps(each.api_key)}\n"]
        return "".join(lines)


def profiles_path() -> Path:
    """Where the file is; XDG_CONFIG_HOME counts only if it is absolute, as its specification says."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    home = base if base.is_absolute() else Path.home() / ".config"
    return home / "posthorn" / "profiles.toml"


def check_name(name: str) -> str:
    """A profile's name. Raises ``CommandError``."""
    if not _NAME.fullmatch(name):
        raise CommandError("A profile's name has at most 64 letters, digits, - and _.", BAD_USAGE)
    return name


def _require_private(path: Path, status: os.stat_result) -> None:
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise CommandError(
            f"{path} holds API keys, and others can read it (mode {stat.S_IMODE(status.st_mode):04o}). "
            f"Run: chmod 600 {path}; and rotate the keys if somebody may have read them.",
            BAD_USAGE,
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value
