"""The name of a signature style in a request."""

from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from service.api.component import named
from service.core.field_code import FieldCode, FieldSentence
from service.core.suggestion import did_you_mean
from webhook_signature.styles import STYLES


def _known_style(name: str) -> str:
    if name not in STYLES:
        why = f"must be one of {', '.join(map(repr, STYLES))}{did_you_mean(name, STYLES)}"
        raise ValueError(FieldSentence(why, FieldCode.UNKNOWN_VALUE))
    return name


_STYLE_SCHEMA: Final = named("SignatureStyle", {"type": "string", "enum": list(STYLES)})
Style = Annotated[str, AfterValidator(_known_style), WithJsonSchema(_STYLE_SCHEMA)]
"""Enum inlined: query parameters have no definitions to refer to."""
