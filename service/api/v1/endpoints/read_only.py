"""What an answer shows and no request may change, so that an answer can be sent back with PATCH or PUT.

Unchanged, it is accepted. Changed, it is refused with what would change it. ``health``, and the gates that the road
moves, may have changed by themselves since they were shown. Nobody can tell that from an edit: they are not compared.
Nor is ``schedule``, which follows ``retry``, and that may be what is changed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from service.api.instant import Instant
from service.api.v1.endpoints.answers import GateShown, SecretShown
from service.api.v1.endpoints.queries import State
from service.core.endpoints.gates.gate import OPENED_BY_PEOPLE
from service.core.endpoints.view import EndpointView
from service.core.field_code import FieldCode, FieldSentence

_SINCE: Final = "is read-only, and has another value now: leave it out, or read the endpoint again"
_PAUSE: Final = "is read-only: POST …/pause and POST …/resume change it; leave it out, or read the endpoint again"
_ROTATE: Final = "is read-only: POST …/rotate-secret makes a new one"


def _kinds(gates: Any) -> frozenset[str]:  # noqa: ANN401 - as shown
    return frozenset(each.kind for each in gates if each.kind in OPENED_BY_PEOPLE)


def _same(value: Any) -> Any:  # noqa: ANN401
    return value


_Compared = tuple[TypeAdapter[Any], Callable[[Any], Any], str]
_COMPARED: Final[Mapping[str, _Compared]] = {
    "id": (TypeAdapter(str), _same, _SINCE),
    "auth_expires_at": (TypeAdapter(Instant | None), _same, "is read-only: the certificate in auth has it"),
    "state": (TypeAdapter(State), _same, _PAUSE),
    "gates": (TypeAdapter(list[GateShown]), _kinds, _PAUSE),
    "secrets": (TypeAdapter(list[SecretShown]), _same, _ROTATE),
    "verified_at": (TypeAdapter(Instant | None), _same, "is read-only: verify sets it"),
    "created_at": (TypeAdapter(Instant), _same, _SINCE),
    "updated_at": (TypeAdapter(Instant), _same, _SINCE),
}
_SHOWN_ONCE: Final = frozenset({"secret", "public_key"})


def read_only_problems(given: Mapping[str, Any], shown: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """What is wrong with the read-only fields of a request: what it changes in what is ``shown`` now.

    ``shown`` None: there is no endpoint yet.
    """
    return {name: [FieldSentence(why, FieldCode.NOT_ALLOWED)] for name, why in _problems(given, shown)}


def _problems(given: Mapping[str, Any], shown: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if name in _SHOWN_ONCE:
            pairs = (each.public_key for each in shown["secrets"]) if shown and name == "public_key" else ()
            if value is not None and value not in pairs:
                yield name, _ROTATE
        elif shown is None:
            yield name, "is read-only, and there is no endpoint with this URL yet"
        elif name in _COMPARED:
            adapter, compared, why = _COMPARED[name]
            try:
                is_same = compared(adapter.validate_python(value)) == compared(adapter.validate_python(shown[name]))
            except ValidationError:
                is_same = False
            if not is_same:
                yield name, why


def keeps_unreadable_headers(given: Mapping[str, Any], endpoint: EndpointView) -> bool:
    """Whether ``headers`` is null only because it was shown so: what is stored cannot be decrypted now."""
    return endpoint.settings.headers is None and "headers" in given and given["headers"] is None
