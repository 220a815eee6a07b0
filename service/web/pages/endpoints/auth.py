"""How Posthorn proves itself to an endpoint, as fields of its form. What is secret is ``***``, which keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from service.web.page import Form

UNREADABLE: Final = "unreadable"
AUTH_FIELDS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "oauth2": ("token_url", "client_id", "client_secret", "scope"),
        "mtls": ("certificate", "private_key"),
    }
)
"""The fields of each type, as the API names them; in the form they begin with ``auth_``."""
_NAMES: Final = tuple(name for names in AUTH_FIELDS.values() for name in names)


@dataclass(frozen=True, slots=True)
class AuthForm:
    """What is, or was, typed; ``type`` is "" without an auth."""

    type: str = ""
    texts: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(_NAMES, ""))

    @classmethod
    def of_shown(cls, shown: Mapping[str, Any] | None) -> "AuthForm":
        """What an endpoint has."""
        if shown is None:
            return cls()
        return cls(shown["type"], {name: shown.get(name) or "" for name in _NAMES})

    @classmethod
    def of_form(cls, form: Form) -> "AuthForm":
        """What was typed."""
        return cls(form.get("auth_type"), {name: form.get(f"auth_{name}") for name in _NAMES})

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """The values of the choice of types, with their labels."""
        offered = [("", "By the signature alone"), ("oauth2", "OAuth 2.0 token"), ("mtls", "Client certificate")]
        return [*offered, (UNREADABLE, "As stored (it cannot be decrypted)")] if self.type == UNREADABLE else offered

    def body(self) -> Mapping[str, str | None] | None:
        """The API's ``auth``; a type that it does not know is for it to refuse."""
        if not self.type:
            return None
        names = AUTH_FIELDS.get(self.type, ())
        return {"type": self.type, **{name: self.texts[name] or (None if name == "scope" else "") for name in names}}
