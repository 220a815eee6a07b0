"""What nearly every command that calls operations does: call one, and print what it answers."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from service.cli.remote.target import ApiOptions
from service.cli.terminal import json_text, print_fields, print_json, print_line, shown, tell

if TYPE_CHECKING:
    from service.cli.calls.calling import Whose

_NOTHING: Final[Mapping[str, Any]] = {}
_UNSET: Final[Sequence[object]] = (None, "", [], {})
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*Z")


def is_remote(api: ApiOptions) -> bool:
    """Whether the command talks to an API, not to the database."""
    return api.unless_beside_database() is not None


def call(
    api: ApiOptions,
    organization_id: str | None,
    name: str,
    *,
    path: Mapping[str, str] = _NOTHING,
    query: Mapping[str, Any] = _NOTHING,
    body: object = None,
    needs_key: bool = False,
    whose: "Whose | None" = None,
) -> Any:  # noqa: ANN401 - any JSON value
    """What one operation answers; with ``needs_key`` never beside the database. Raises ``CommandError``.

    ``whose`` finds the organization of what is named by its id alone, beside the database.
    """
    import asyncio

    from service.cli.calls.calling import calling

    async def run() -> Any:  # noqa: ANN401 - any JSON value
        async with calling(api, organization_id, needs_key=needs_key, whose=whose) as calls:
            return await calls.call(name, path=path, query=query, body=body)

    return asyncio.run(run())


def call_body(api: ApiOptions, organization_id: str | None, name: str, path: Mapping[str, str]) -> bytes:
    """The bytes that one operation answers, as they are. Raises ``CommandError``."""
    import asyncio

    from service.cli.calls.calling import calling

    async def run() -> bytes:
        async with calling(api, organization_id) as calls:
            return await calls.body(name, path)

    return asyncio.run(run())


def print_answer(answer: Mapping[str, Any], *, as_json: bool, below: Sequence[str] = ()) -> None:
    """Print one thing: its fields that are set, those of inner things with dots; or the answer as it is.

    ``below`` are fields that are printed as JSON, each in lines of its own.
    """
    if as_json:
        print_json(answer)
        return
    fields = _flat({name: value for name, value in answer.items() if name not in below})
    print_fields({name: value for name, value in fields if value not in _UNSET})
    for name in below:
        if answer.get(name) is not None:
            print_line(f"\n{name}\n{json_text(answer[name], indent=2)}")


def print_page(page: Mapping[str, Any], columns: Mapping[str, str], *, nothing: str, as_json: bool) -> None:
    """Print one page of a list. ``columns``: titles and what stands below, as ``print_answer`` names it.

    Columns whose title is an id's, or long, are marked with a star, and move below a row that is too wide.
    """
    if as_json:
        print_json(page)
        return
    from service.cli.tables import Column, print_table

    fields = [dict(_flat(each)) for each in page["data"]]
    rows = [[_cell(each.get(name)) for name in columns.values()] for each in fields]
    print_table([Column(title.rstrip("*"), moves=title.endswith("*")) for title in columns], rows, nothing=nothing)
    tell_more(page)


def tell_more(page: Mapping[str, Any], what: str = "more") -> None:
    """Say how a list goes on, if it does."""
    if page.get("next_cursor"):
        ones = "" if what == "more" else " ones"
        tell(f"{len(page['data'])} shown. For {what}{ones} add --cursor {shown(page['next_cursor'])}")


def _flat(answer: Mapping[str, Any], before: str = "") -> Sequence[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in answer.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            found += [pair for number, each in enumerate(value, 1) for pair in _flat(each, f"{before}{name}.{number}.")]
        else:
            found.append((before + name, value))
    return found


def _cell(value: object) -> object:
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return value[:19].replace("T", " ")
    return shown(value)
