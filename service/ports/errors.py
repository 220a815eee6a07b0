"""Errors from outside, distinguished by whether a retry can help."""


class UnavailableError(Exception):
    """The database or the broker cannot be reached now; the same call may succeed later."""


class NotMigratedError(UnavailableError):
    """The database's schema does not match this release: a table or column is missing."""


class ReadTooSlowError(UnavailableError):
    """A read was cancelled because it took longer than it may."""


class UrlKeyUnopenableError(UnavailableError):
    """The key of an organization's URLs cannot be decrypted, so nobody knows whether it has a URL already."""


class RefusedError(Exception):
    """The database refuses these rows, and would refuse them again. Halving the batch finds the faulty row."""


class SecretUnopenableError(Exception):
    """The sealed secret cannot be decrypted: its key is missing from SECRET_KEYS, or the row was tampered with."""
