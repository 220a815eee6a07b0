"""Query parameters that take several values, separated by commas: ``state=dead,cancelled``."""

from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

VALUES_MAX: Final = 20

Item = TypeVar("Item")


def split(value: object) -> object:
    """The values between commas."""
    return value.split(",") if isinstance(value, str) else value


def once(values: list[Item]) -> list[Item]:
    """Each value once, in the order in which they came."""
    return list(dict.fromkeys(values))


Several = Annotated[list[Item], BeforeValidator(split), AfterValidator(once), Field(max_length=VALUES_MAX)]
"""At least one value, each once."""
