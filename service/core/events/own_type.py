"""An organization's own event types: a JSON Schema (2020-12) of ``data`` instead of a Struct.

Who writes a schema is a tenant, not an operator, and what it validates is somebody's event. So a schema is bounded when
it is registered (``schema_rules``) and again when it is used (``bounded_validator``): none can stop a worker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from service.core.events.bounded_validator import TooMuchWorkError, cut, first_complaint, path_of
from service.core.events.registry import Complaint
from service.core.events.schema_rules import schema_complaint

SCHEMA_BYTES_MAX: Final = 32 * 1024
OWN_TYPES_MAX: Final = 200
"""How many an organization may register."""
RESERVED_PREFIXES: Final = ("endpoint.", "delivery.")
"""Names that begin so are kept for events about Posthorn's own doings."""

_raw_data_of = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class OwnEventType:
    """An event type that an organization registered. ``schema`` is the JSON Schema of ``data``, as text."""

    name: str
    schema: str

    def judge(self, body: bytes) -> Complaint | None:
        """What is wrong with the ``data`` of an event, given its whole envelope; None when nothing is."""
        try:
            data = json.loads(bytes(_raw_data_of.decode(body)["data"]), parse_int=_whole)
            return first_complaint(self.schema, data) if isinstance(data, dict) else Complaint("data", "is no object")
        except (TooMuchWorkError, RecursionError):
            return Complaint("data", f"is too large, or too deep, to be checked against the schema of {self.name}")
        except Exception as error:  # noqa: BLE001 - whatever a tenant's schema does to the library, intake lives on
            return Complaint("data", f"cannot be checked against the schema of {self.name}: {type(error).__name__}")


def write_schema(schema: Mapping[str, Any]) -> str | Complaint:
    """A schema as the text to keep, or what keeps it from being one we validate with: ``field`` is its path.

    Takes some 0.3 s of computing for the largest schema.
    """
    try:
        text = json.dumps(schema, separators=(",", ":"), allow_nan=False)
        if len(text) > SCHEMA_BYTES_MAX:
            return Complaint("schema", f"has {len(text)} bytes; at most {SCHEMA_BYTES_MAX} are taken")
        complaint = schema_complaint(schema)
        if complaint is None:
            Draft202012Validator.check_schema(schema)
            first_complaint(text, {})  # what turns in circles does so at once
    except SchemaError as error:
        return Complaint(path_of("schema", error), cut(error.message))
    except (TooMuchWorkError, RecursionError):
        return Complaint("schema", "goes in circles: a $ref must not lead back to itself, and nesting has an end")
    except Exception as error:  # noqa: BLE001 - the library's way to fail on a schema it has no rule against
        return Complaint("schema", f"cannot be used to validate: {cut(f'{type(error).__name__}: {error}')}")
    return complaint or text


def is_same_schema(text: str, other: str) -> bool:
    """Whether two schemas, as text, say the same but for the order of keys."""
    return text == other or _sorted(text) == _sorted(other)


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= 1000 else float(text)  # noqa: PLR2004 - Python reads no int of 4300 digits
