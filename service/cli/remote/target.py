"""Which API a command talks to, and with which key. ``reaches_api`` gives a command the options for it.

Options come before variables, variables before the profile in use. A key goes only where it was given for: that of a
profile to the profile's URL, POSTHORN_API_KEY to POSTHORN_API_URL or --api-url.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from service.cli.remote.profiles import Profiles
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.keys.api_key import parse_key

API_URL: Final = "POSTHORN_API_URL"
API_KEY: Final = "POSTHORN_API_KEY"
PROFILE: Final = "POSTHORN_PROFILE"

NO_API: Final = f"""\
No API is named. Give its URL with --api-url or {API_URL}, and the key in {API_KEY};
or store both once: posthorn profiles add NAME --api-url https://posthorn.example.com"""

_KEY_CHARACTERS_MAX: Final = 200
_NOT_IN_PUBLIC: Final = (".localhost", ".local", ".internal", ".test", ".svc")

ApiUrlOption = Annotated[
    str | None, typer.Option("--api-url", metavar="URL", help=f"The API's base URL; or set {API_URL}.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help=f"The API key. Others can see it in ps: better set {API_KEY}."),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help=f"A stored URL and key; or set {PROFILE}.")
]


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """An API and the key for it. ``url`` ends without a slash; ``named_by`` is what named it, for messages."""

    url: str
    key: str = field(repr=False)
    named_by: str


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What a command was told about the API that it should talk to."""

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    profile: str | None = None

    def required(self) -> ApiTarget:
        """The API of a command that needs one. Raises ``CommandError``."""
        found = self._named() or self._in_use()
        if found is None:
            raise CommandError(NO_API, BAD_USAGE)
        return found

    def unless_beside_database(self) -> ApiTarget | None:
        """The API of a command that can do the same with the database; None: use the database.

        DATABASE_URL in the environment comes before the profile in use, and after what names an API.
        """
        has_database = bool(_variable("DATABASE_URL") or _variable("DATABASE_URL_FILE"))
        return self._named() or (None if has_database else self._in_use())

    def _named(self) -> ApiTarget | None:
        """The API that options or variables name."""
        if self.url is not None and self.profile is not None:
            raise CommandError("Give --api-url or --profile, not both.", BAD_USAGE)
        if self.url is not None:
            return ApiTarget(check_url(self.url, "--api-url"), self._own_key(), "--api-url")
        if self.profile is not None:
            return self._of_profile(self.profile, "--profile")
        url, profile = _variable(API_URL), _variable(PROFILE)
        if url and profile:
            raise CommandError(f"Set {API_URL} or {PROFILE}, not both.", BAD_USAGE)
        if url:
            return ApiTarget(check_url(url, API_URL), self._own_key(), API_URL)
        return self._of_profile(profile, PROFILE) if profile else None

    def _in_use(self) -> ApiTarget | None:
        profiles = Profiles.read()
        if profiles.in_use is None:
            return None
        if _variable(API_KEY) or _variable(f"{API_KEY}_FILE"):
            raise CommandError(
                f"{API_KEY} is set without {API_URL}, so it is not clear where the key belongs. Set both, or unset "
                f"it to use the profile {profiles.in_use}.",
                BAD_USAGE,
            )
        return self._of_profile(profiles.in_use, "the profile in use")

    def _of_profile(self, name: str, named_by: str) -> ApiTarget:
        profile = Profiles.read().find(name)
        url = check_url(profile.api_url, f"profile {name}")
        return ApiTarget(url, check_key(self.key) if self.key is not None else profile.api_key, f"{named_by} {name}")

    def _own_key(self) -> str:
        if self.key is not None:
            return check_key(self.key)
        given = _variable(API_KEY) or _from_file(f"{API_KEY}_FILE")
        if given:
            return check_key(given)
        if not sys.stdin.isatty():  # a script's standard input is for the script
            raise CommandError(f"Give the API key: {API_KEY}, or a profile.", BAD_USAGE)
        return ask_for_key()


def reaches_api(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --api-url, --key and --profile; its parameter ``api`` gets them as ``ApiOptions``."""
    signature = inspect.signature(command)
    own = [each for name, each in signature.parameters.items() if name != "api"]
    options = {"api_url": ApiUrlOption, "api_key": KeyOption, "api_profile": ProfileOption}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:  # noqa: ANN401 - whatever the command takes
        api = ApiOptions(*(given.pop(name) for name in options))
        command(*args, api=api, **given)

    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return run


def check_url(text: str, named_by: str) -> str:
    """The API's base URL without a slash at its end. Raises ``CommandError`` for one that no key may be sent to."""
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    is_plain = parts.username is None and not parts.query and not parts.fragment and text.strip().isprintable()
    if parts.scheme not in {"http", "https"} or not host or not is_plain:
        raise CommandError(f"{named_by}: must be a URL such as https://posthorn.example.com", BAD_USAGE)
    if parts.scheme == "http" and not _is_near(host):
        raise CommandError(f"{named_by}: must start with https://, or the key could be read on its way.", BAD_USAGE)
    return parts.geturl().rstrip("/").removesuffix("/v1")


def _is_near(host: str) -> bool:
    """Whether only this machine or its own network can be meant: such names are not in the public DNS."""
    try:
        return ip_address(host.partition("%")[0]).is_private
    except ValueError:
        is_name = host[0].isalpha()  # not a number, which is an address, too
        return is_name and ("." not in host or host.endswith(_NOT_IN_PUBLIC) or ".svc." in host)


def check_key(text: str) -> str:
    """An API key. Raises ``CommandError`` for what cannot be one, without quoting it."""
    key = text.strip()
    if parse_key(key) is None:
        raise CommandError("That is not an API key: keys look like ph_live_<id>_<secret>.", BAD_USAGE)
    return key


@functools.cache  # a command may need it at several places
def ask_for_key() -> str:
    """A key that is typed without being shown, or the first line of standard input. Raises ``CommandError``."""
    if sys.stdin.isatty():
        typed: str = typer.prompt("API key", hide_input=True, err=True)
        return check_key(typed)
    return check_key(sys.stdin.readline(_KEY_CHARACTERS_MAX))


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _from_file(name: str) -> str:
    path = _variable(name)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise CommandError(f"{name}: {path!r} cannot be read.", BAD_USAGE) from None
