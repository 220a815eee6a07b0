"""The API as it is, beside that of the last release: what clients were promised then still holds."""

import json

from tests.compatibility.incompatible import incompatibilities
from tests.compatibility.keep import RELEASED, contract_of, document_of_today


def test_no_operation_of_the_last_release_has_changed_incompatibly() -> None:
    """If this is wanted, say so in docs/api-versions.md, and run ``python -m tests.compatibility.keep``."""
    released = json.loads(RELEASED.read_text("utf-8"))
    assert len(released["paths"]) > 10
    assert incompatibilities(released, contract_of(document_of_today())) == []


def test_what_is_kept_has_no_prose_and_every_name() -> None:
    document = document_of_today()
    contract = contract_of(document)
    assert contract["paths"].keys() == document["paths"].keys()
    schemas = document["components"]["schemas"]
    assert {name: set(each.get("properties", ())) for name, each in contract["components"]["schemas"].items()} == {
        name: set(each.get("properties", ())) for name, each in schemas.items()
    }
    assert '"example' not in json.dumps(contract)
    assert incompatibilities(document, contract) == []
