"""Keeps the OpenAPI document as that of a release: ``python -m tests.compatibility.keep``.

Run it when a release is made, after its changes are in docs/api-versions.md. From then on, an operation that is in
the document can change only in ways that clients do not notice. ``--check`` only says what has changed incompatibly.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from service import __version__
from service.api.documents.routes import openapi_of
from service.app.http import SAMPLE_ORGANIZATION, SAMPLES_AT
from service.core.events.schema import built_in_types
from tests.compatibility.incompatible import incompatibilities
from tests.end_to_end.known_ids import all_operations

RELEASED: Final = Path(__file__).with_name("openapi.json")
_PROSE: Final = {"description", "summary", "example", "examples", "info", "tags"}
_BY_NAME: Final = {"properties", "paths", "webhooks", "schemas", "parameters", "responses", "headers"}


def document_of_today() -> dict[str, Any]:
    """The document as it is served."""
    types = built_in_types(SAMPLE_ORGANIZATION, SAMPLES_AT)
    found: dict[str, Any] = json.loads(json.dumps(openapi_of(all_operations(), types)))
    return found


def contract_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what only people read: that may change at any time."""

    def kept(value: Any, *, are_names: bool = False) -> Any:
        if isinstance(value, Mapping):
            return {
                name: kept(each, are_names=not are_names and name in _BY_NAME)
                for name, each in value.items()
                if are_names or name not in _PROSE
            }
        return [kept(each) for each in value] if isinstance(value, list) else value

    found: dict[str, Any] = kept(document)
    return found | {"info": {"title": document["info"]["title"], "version": __version__}}


def main() -> None:
    """Keep the document, or check it."""
    contract = contract_of(document_of_today())
    if "--check" in sys.argv[1:]:
        found = incompatibilities(json.loads(RELEASED.read_text("utf-8")), contract)
        sys.exit("\n".join(found) if found else 0)
    RELEASED.write_text(json.dumps(contract, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
