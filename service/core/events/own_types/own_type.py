"""An organization's own event types: a JSON Schema (2020-12) of ``data`` instead of a Struct.

Schemas are written by tenants, not by the operator. So a schema is restricted when it is registered
(``schema_rules``) and its work is bounded when it is used (``bounded_validator``): no schema can stop a worker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from service.core.events.own_types.bounded_validator import (
    STEPS_AT_ONCE_MAX,
    STEPS_MAX,
    TooMuchWorkError,
    complaints_of,
    cut,
    path_of,
)
from service.core.events.own_types.schema_rules import schema_complaint
from service.core.events.registry import Complaint
from service.core.field_code import FieldCode

SCHEMA_BYTES_MAX: Final = 32 * 1024
OWN_TYPES_MAX: Final = 200
"""How many event types an organization may register, unless the operator says otherwise."""

_NO_FORMATS: Final = FormatChecker(())
"""Otherwise every ``pattern`` would have to be one of Python's."""

_raw_data_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class OwnEventType:
    """An event type that an organization registered. ``schema`` is the JSON Schema of ``data``, as text."""

    name: str
    schema: str

    def judge(self, body: bytes) -> tuple[Complaint, ...]:
        """What is wrong with the ``data`` of an event, given its whole envelope; nothing if it is valid.

        Takes about 0.3 s of CPU time at most.
        """
        try:
            return self._judge(body, STEPS_MAX)
        except TooMuchWorkError:
            return (self._beyond_bounds(),)

    def judge_at_once(self, body: bytes) -> tuple[Complaint, ...]:
        """The same in some 40 ms at most. Raises ``TooMuchWorkError`` for an event that takes longer."""
        return self._judge(body, STEPS_AT_ONCE_MAX)

    def _judge(self, body: bytes, steps_max: int) -> tuple[Complaint, ...]:
        try:
            data = json.loads(bytes(_raw_data_of.decode(body)["data"]), parse_int=_whole)
            if not isinstance(data, dict):
                return (Complaint("data", "must be a JSON object", FieldCode.WRONG_TYPE),)
            return complaints_of(self.schema, data, steps_max=steps_max)
        except TooMuchWorkError:
            raise
        except RecursionError:
            return (self._beyond_bounds(),)
        except Exception as error:  # noqa: BLE001 - a tenant's schema must not stop intake, whatever the library raises
            return (
                Complaint("data", f"cannot be validated against the schema of {self.name}: {type(error).__name__}"),
            )

    def _beyond_bounds(self) -> Complaint:
        return Complaint("data", f"is too large or too deeply nested to validate against the schema of {self.name}")


def write_schema(schema: Mapping[str, Any]) -> str | Complaint:
    """The schema as text to store, or why it cannot be used; the complaint's ``field`` is the path in the schema.

    Takes about 0.3 s of CPU time for the largest schema.
    """
    try:
        text = json.dumps(schema, separators=(",", ":"), allow_nan=False)
        if len(text) > SCHEMA_BYTES_MAX:
            return Complaint(
                "schema", f"has {len(text)} bytes; the limit is {SCHEMA_BYTES_MAX}", FieldCode.OUT_OF_RANGE
            )
        complaint = schema_complaint(schema)
        if complaint is None:
            Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
            complaints_of(text, {})  # an endless $ref loop shows on any data
    except SchemaError as error:
        return Complaint(path_of("schema", error), cut(error.message))
    except (TooMuchWorkError, RecursionError):
        return Complaint("schema", "contains a $ref that leads back to itself, or is nested too deeply")
    except Exception as error:  # noqa: BLE001 - the library raises anything for a schema that check_schema lets pass
        return Complaint("schema", f"cannot be used for validation: {cut(f'{type(error).__name__}: {error}')}")
    return complaint or text


def is_same_json(text: str, other: str) -> bool:
    """Whether two JSON texts are the same apart from the order of keys."""
    return text == other or _sorted(text) == _sorted(other)


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= 1000 else float(text)  # noqa: PLR2004 - int() refuses more than 4300 digits
