"""File descriptors: how many connections the API may have, so that deliveries always find a descriptor."""

import resource
from contextlib import suppress
from typing import Final

from service.settings import Settings, environment_name

API_CONNECTIONS_MAX: Final = 1_024
"""Of one process. While its requests arrive, each may cost up to half a megabyte."""
API_CONNECTIONS_MIN: Final = 64
OPS_CONNECTIONS_MAX: Final = 32
BROKER_CONNECTIONS: Final = 4
SPARE: Final = 224
"""The loop, files, name servers, the supervisor's pipes, what the loop accepts in one go before it is counted, and the
second connection of a receiver that is being dialled at two of its addresses."""


class TooFewDescriptorsError(Exception):
    """The process may not open as many files as its settings need; the text says what to do."""


def idle_connections_max(settings: Settings) -> int:
    """How many connections to receivers may wait for another request, in one process."""
    return max(1, settings.in_flight_max // 2)


def api_connections_max(settings: Settings, *, delivers: bool) -> int:
    """How many connections the API of this process may have, once its limit of open files is raised as far as needed.

    Raises ``TooFewDescriptorsError``.
    """
    # Prompt requests and those that hang are at most twice in_flight_max, and unsure ones three quarters of it beside
    # them (core/deliveries/fairness/slots).
    requests = settings.in_flight_max * 11 // 4
    deliveries = requests + idle_connections_max(settings) + BROKER_CONNECTIONS if delivers else 0
    reserved = settings.database_connections_max + deliveries + OPS_CONNECTIONS_MAX + SPARE
    limit = _raised(reserved + API_CONNECTIONS_MAX)
    if limit < reserved + API_CONNECTIONS_MIN:
        names = [environment_name(name) for name in ("in_flight_max", "database_connections_max")[not delivers :]]
        raise TooFewDescriptorsError(
            f"A process may open {limit} files, and with these settings needs {reserved + API_CONNECTIONS_MIN}: raise "
            f"the limit (ulimit -n, LimitNOFILE= or --ulimit nofile), or lower {' or '.join(names)}."
        )
    return min(limit - reserved, API_CONNECTIONS_MAX)


def _raised(wanted: int) -> int:
    """Raise the soft limit of open files to ``wanted``, or as far as it may be; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a system may allow less than the hard limit
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else soft
