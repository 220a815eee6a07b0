"""Where an import reads from: files, and RapidPro's API, whose pages are kept so that a later run goes on."""

import asyncio
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from yarl import URL

from service.adapters.rapidpro import RapidProError, rapidpro_reader
from service.cli.terminal import BAD_USAGE, CommandError, tell
from service.core.imports.foreign import FOREIGN_MAX
from service.core.imports.rapidpro import LISTS, SUBSCRIBERS

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
TOKEN_VARIABLE: Final = "RAPIDPRO_TOKEN"  # noqa: S105 - the name of a variable


def read_file(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON in a file. Raises ``CommandError``."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise CommandError(f"{path}: larger than {FILE_BYTES_MAX} bytes.", BAD_USAGE)
        return json.loads(text)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.", BAD_USAGE) from None
    except (ValueError, RecursionError):
        raise CommandError(f"{path}: not JSON.", BAD_USAGE) from None


def rapidpro_file(path: Path) -> Mapping[str, Any]:
    """An export file: ``{"resthooks": […], "resthook_subscribers": […]}``, or an answer of the list of subscribers."""
    found = read_file(path)
    if isinstance(found, dict) and "results" in found:
        found = {SUBSCRIBERS: found["results"]}
    if not isinstance(found, dict) or SUBSCRIBERS not in found:
        raise CommandError(f"{path}: has neither {SUBSCRIBERS} nor results.", BAD_USAGE)
    return found


def rapidpro_token(path: Path | None) -> str:
    """The token from a file, or from the environment. Raises ``CommandError``."""
    try:
        token = path.read_text().strip() if path is not None else os.environ.get(TOKEN_VARIABLE, "").strip()
    except (OSError, ValueError):
        raise CommandError(f"--token-file {path}: cannot be read.", BAD_USAGE) from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CommandError(f"Give RapidPro's API token: --token-file, or the variable {TOKEN_VARIABLE}.", BAD_USAGE)
    return token


def rapidpro_base(text: str) -> URL:
    """The URL of a RapidPro. Raises ``CommandError`` for one to which a token must not be sent."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if not url.host or url.scheme not in {"http", "https"} or url.query_string or url.user:
        raise CommandError("--url: must be like https://app.rapidpro.io", BAD_USAGE)
    if url.scheme == "http" and not _is_loopback(url.host or ""):
        raise CommandError("--url: must start with https://, or the token could be read on the way.", BAD_USAGE)
    return url.with_path(url.path.rstrip("/").removesuffix("/api/v2"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Saved:
    """The pages read so far, in a file if there is one: ``next`` has where each unfinished list goes on."""

    def __init__(self, base: URL, path: Path | None) -> None:
        self._path = path
        self.lists: dict[str, list[Any]] = {name: [] for name in LISTS}
        self.next: dict[str, str | None] = dict.fromkeys(LISTS)  # None: not begun
        self.is_kept = False
        if path is None or not path.exists():
            self._base = str(base)
            return
        found = read_file(path)
        try:
            self._base, self.next = str(found["url"]), {str(name): url for name, url in found["next"].items()}
            self.lists = {name: list(found[name]) for name in LISTS}
        except (TypeError, KeyError, AttributeError):
            raise CommandError(f"--save {path}: was not written by this command.", BAD_USAGE) from None
        if self._base != str(base) or not self.next.keys() <= self.lists.keys():
            raise CommandError(f"--save {path}: was read from {self._base}.", BAD_USAGE)
        done = "all of it; remove the file to read again" if not self.next else "going on where that ended"
        tell(f"{path} has what was read before: {done}.")
        self.is_kept = True

    def add(self, name: str, results: list[Any], next_url: str | None) -> None:
        """Keep a page. Dying here loses it at most: the file is replaced as a whole."""
        self.lists[name] += results
        if len(self.lists[name]) > FOREIGN_MAX:
            raise CommandError(f"RapidPro has more than {FOREIGN_MAX} {name}.")
        if next_url is None:
            del self.next[name]
        else:
            self.next[name] = next_url
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".part")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"url": self._base, "next": self.next, **self.lists}, file)
            beside.replace(self._path)
            self.is_kept = True
        except OSError as error:
            raise CommandError(f"--save {self._path}: {error.strerror}.") from None


async def read_api(base: URL, token: str, path: Path | None) -> Mapping[str, Any]:
    """Read both lists from the API, and keep each page in the file. Raises ``CommandError``."""
    saved = Saved(base, path)
    try:
        async with rapidpro_reader(base, token, _wait) as reader:
            for name, url in list(saved.next.items()):
                async for page in reader.pages(url or reader.first_url(name)):
                    saved.add(name, list(page.results), page.next_url)
    except RapidProError as error:
        kept = f" What was read is in {path}; run this again to go on." if saved.is_kept else ""
        raise CommandError(f"RapidPro: {error}.{kept}") from None
    return saved.lists


async def _wait(seconds: float, why: str) -> None:
    tell(f"RapidPro {why}; trying again in {seconds:g} s (Ctrl-C ends this).")
    await asyncio.sleep(seconds)
