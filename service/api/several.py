"""Query parameters that take several values, separated by commas: ``state=dead,cancelled``."""

from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

VALUES_MAX: Final = 20

Item = TypeVar("Item")


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _once(values: list[Item]) -> list[Item]:
    return list(dict.fromkeys(values))


Several = Annotated[list[Item], BeforeValidator(_split), AfterValidator(_once), Field(max_length=VALUES_MAX)]
"""At least one value, each once."""
