"""JSON Schemas that tenants might register."""

import json

_TWICE = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(10)}

DOUBLING = json.dumps({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**_TWICE, "d10": {"type": "integer"}}})
"""Each level is checked twice: any ``a`` takes longer than the event loop may be held."""
