"""Secrets at rest."""

from typing import Protocol


class SecretBox(Protocol):
    """Seals secrets at rest."""

    def seal(self, secret: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Encrypt, bound to its row: a sealed secret that is moved to another row cannot be decrypted."""

    def open(self, sealed: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Decrypt. Raises ``SecretUnopenableError``."""


class RewrappingBox(SecretBox, Protocol):
    """A box with several keys: it seals with the first and opens with any."""

    @property
    def sealing_key_id(self) -> str:
        """The id of the first key, which seals."""

    def needs_rewrap(self, sealed: str) -> bool:
        """Whether another key than the first one sealed it."""
