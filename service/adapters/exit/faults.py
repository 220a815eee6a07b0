"""Maps the error of a failed POST to a reason from the closed set."""

import errno
import os
import ssl
from typing import Final

from aiohttp.client_exceptions import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientOSError,
    ClientSSLError,
    ServerDisconnectedError,
)
from aiohttp.http import HttpProcessingError

from service.adapters.exit.deadlines import HeldUpError
from service.adapters.exit.dialer import blocked_by
from service.adapters.exit.sources import SourceAddressError
from service.adapters.exit.tunnel import BehindProxyError, ProxyError, was_at_proxy
from service.core.reason import Reason

_OUR_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES}
)
_DETAIL_CHARACTERS_MAX: Final = 300


def diagnose(error: Exception) -> tuple[Reason, str]:
    """The reason and a sentence for people. Total: an unexpected error is INTERNAL."""
    if blocked := blocked_by(error):
        return Reason.BLOCKED_DESTINATION, str(blocked)
    reason, detail = _read_proxy(error) or _read(error)
    return reason, detail[:_DETAIL_CHARACTERS_MAX]


def _read_proxy(error: Exception) -> tuple[Reason, str] | None:
    match error:
        case ProxyError():
            return Reason.EGRESS_PROXY, str(error)
        case BehindProxyError():
            return error.reason, str(error)
        case TimeoutError() if was_at_proxy(error):
            return Reason.EGRESS_PROXY, "the egress proxy could not be reached within the timeout"
        case _:
            return None


def _read(error: Exception) -> tuple[Reason, str]:  # noqa: PLR0911  a table, one line per kind of error
    match error:
        case ClientConnectorDNSError():
            return Reason.DNS, str(error.os_error.strerror or "the name was not found")
        case ClientSSLError():
            cause = error.__cause__
            return Reason.TLS, str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "TLS failed")
        case ClientConnectorError():
            return _read_dial(error.os_error)
        case HttpProcessingError():
            return Reason.PROTOCOL_ERROR, "the reply is not valid HTTP/1.1: " + error.message.partition("\n")[0]
        case ServerDisconnectedError() if not isinstance(error.message, str):
            return Reason.PROTOCOL_ERROR, "the connection closed in the middle of the reply headers"
        case HeldUpError():
            return Reason.INTERNAL, f"{error}, longer than the lease allowed to wait for a reply"
        case TimeoutError():
            return Reason.TIMEOUT, "no reply within the timeout"
        case ClientOSError() if isinstance(error.__cause__, ssl.SSLError):
            return Reason.TLS, str(error.__cause__.reason or "TLS failed")
        case ServerDisconnectedError() | ClientOSError() | ConnectionError():
            return Reason.CONNECT_RESET, "the connection closed before a reply"
        case _:
            return Reason.INTERNAL, f"{type(error).__name__}: {error}"


def _read_dial(error: OSError) -> tuple[Reason, str]:
    if isinstance(error, SourceAddressError):
        return Reason.BLOCKED_DESTINATION, f"could not connect: {error.strerror}"
    why = os.strerror(error.errno) if error.errno else "no address could be reached"
    if error.errno in _OUR_ERRNOS:
        return Reason.INTERNAL, f"could not connect: {why}"
    if error.errno == errno.ETIMEDOUT:
        return Reason.TIMEOUT, "the connection timed out"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return Reason.CONNECT_RESET, "the connection was closed while it was being set up"
    return Reason.CONNECT_REFUSED, f"connection failed: {why}"
