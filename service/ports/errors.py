"""What goes wrong outside, told apart by whether trying again can help."""


class UnavailableError(Exception):
    """The database or the broker cannot be reached now; the same call may succeed later."""


class NotMigratedError(UnavailableError):
    """The database's schema is not this release's: a table or column is missing."""


class RefusedError(Exception):
    """The database refuses these rows, and would again: a fault of ours. Smaller batches find the culprit."""


class SecretUnopenableError(Exception):
    """The sealed secret does not open: its key is missing from SECRET_KEYS, or the row was tampered with."""
