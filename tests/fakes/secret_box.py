"""Secrets, sealed in the clear: the binding to their row is kept, the encryption is not."""

from service.ports.errors import SecretUnopenableError


class PlainSecretBox:
    """The SecretBox port. ``forget_keys`` is what a wrong SECRET_KEYS does."""

    def __init__(self) -> None:
        self.has_keys = True

    def forget_keys(self) -> None:
        """From now on nothing opens."""
        self.has_keys = False

    def seal(self, secret: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        return f"v1:{organization_id}|{endpoint_id}|{secret_id}|{secret}"

    def open(self, sealed: str, *, organization_id: str, endpoint_id: str, secret_id: str) -> str:
        prefix = f"v1:{organization_id}|{endpoint_id}|{secret_id}|"
        if not self.has_keys or not sealed.startswith(prefix):
            raise SecretUnopenableError(f"the secret {secret_id} does not open")
        return sealed.removeprefix(prefix)
