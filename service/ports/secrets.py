"""Secrets at rest."""

from typing import Protocol


class SecretBox(Protocol):
    """Seals secrets at rest."""

    def seal(self, secret: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Encrypt, bound to its row: a sealed secret that is moved to another row cannot be decrypted."""

    def open(self, sealed: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        """Decrypt. Raises ``SecretUnopenableError``."""
