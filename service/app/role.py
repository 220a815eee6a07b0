"""What a process does; alone here, because the command line names roles before it imports what implements them."""

from enum import StrEnum


class Role(StrEnum):
    """Everything, only the HTTP API, or only delivery."""

    ALL = "all"
    API = "api"
    WORKER = "worker"
